"""The task `predict_table`: a whole table through a model, one JSON line per row with its inputs and its prediction."""

import os
from typing import TYPE_CHECKING, Any

from . import answers, frames, model

if TYPE_CHECKING:
    from .work import Work

#: The result, relative to the working directory.
RESULT = ".modelyard/predictions.jsonl"
#: Rows that `predict_many` gets at a time.
_BLOCK = 65_536


def predict_table(work: "Work") -> dict[str, object]:
    """Message: as `model.load`, and arguments, block; files: the table, then artifact and archive where announced."""
    message: dict[str, Any] = work.message
    table_fd, *rest = work.fds
    artifact = rest.pop(0) if message.get("artifact", bool(rest)) else None
    files = rest.pop(0) if message.get("files", bool(rest)) else None
    loaded = model.load(message, artifact, files)
    table, _ = frames.read_arrow(table_fd)
    block = int(message.get("block") or _BLOCK)
    work.started()
    os.makedirs(os.path.dirname(RESULT), exist_ok=True)
    with open(RESULT, "wb") as target:
        for start in range(0, table.num_rows, block):
            rows = table.slice(start, block).to_pylist()
            results = loaded.predict_many([dict(row) for row in rows], message.get("arguments") or {})
            for row, result in zip(rows, results, strict=True):
                target.write(answers.to_json({**row, "prediction": result}) + b"\n")
    return {"path": RESULT, "rows": table.num_rows, "size": os.stat(RESULT).st_size}
