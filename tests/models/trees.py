"""What the tests of code in several files share: a small package, zips of it, and waiting until it has arrived."""

import io
import time
import zipfile
from collections.abc import Mapping
from typing import Any

import requests

from tests.yard import Yard

#: A package with relative imports, a module beside it, and data beside the code.
FILES: dict[str, str | bytes] = {
    "pricing/__init__.py": "",
    "pricing/training.py": (
        "from . import shapes\nfrom .tables import factor\nimport helper\n\n\n"
        "def train(*tables):\n    print('factor', factor())\n    return shapes.Line(factor(), helper.OFFSET)\n"
    ),
    "pricing/predicting.py": (
        "def predict(model, query):\n    return model.at(query['x'])\n\n\n"
        "def predict_many(model, queries: list):\n    return [model.at(each['x']) for each in queries]\n"
    ),
    "pricing/shapes.py": (
        "class Line:\n    def __init__(self, factor, offset):\n        self.factor, self.offset = factor, offset\n\n"
        "    def at(self, x):\n        return self.factor * x + self.offset\n"
    ),
    "pricing/tables.py": (
        "from pathlib import Path\n\n\ndef factor():\n"
        "    return int((Path(__file__).parent / 'data' / 'factor.txt').read_text())\n"
    ),
    "pricing/data/factor.txt": "3\n",
    "helper.py": "OFFSET = 10\n",
}
NAMES: dict[str, Any] = {
    "trainFunctionName": "train",
    "trainModuleName": "pricing.training",
    "predictFunctionName": "predict",
    "predictManyFunctionName": "predict_many",
    "predictModuleName": "pricing/predicting.py",
}


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of those files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def send(yard: Yard, upload_id: str, content: bytes, parts: int = 1) -> None:
    """Sends the bytes in so many parts, as the client does, and marks the upload complete."""
    size = -(-len(content) // parts)
    for number in range(parts):
        requests.post(
            f"{yard.url}/api/v0/uploadPart",
            data={"uploadId": upload_id, "partNumber": number + 1},
            files={"partData": content[number * size : (number + 1) * size]},
            headers={"apiKey": yard.key},
            timeout=60,
        ).raise_for_status()
    yard.call("markUploadComplete", uploadId=upload_id)


def wait_for_code(yard: Yard, model_id: str, timeout_s: float = 60) -> dict[str, Any]:
    """The model once its code has arrived, or was refused."""
    deadline = time.monotonic() + timeout_s
    while True:
        model: dict[str, Any] = yard.call("describeModel", "GET", modelId=model_id)
        if model["codeSource"]["status"] in ("COMPLETE", "FAILED"):
            return model
        assert time.monotonic() < deadline, f"the code did not arrive in {timeout_s} s: {model['codeSource']}"
        time.sleep(0.05)
