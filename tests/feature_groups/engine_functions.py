"""What functions the engine has, asked of the engine in a guest.

`python -m tests.feature_groups.engine_functions > src/modelyard/feature_groups/engine_functions.txt` writes the list
anew after the base environment got another version of the engine; `test_definition_errors` compares the two.
"""

import tempfile
from pathlib import Path

import pyarrow as pa

from modelyard.environments import Environments
from modelyard.sandbox import Guest, Limits, Sandbox
from modelyard.settings import Settings
from tests.conftest import shared_cache

#: Names of the engine's catalogue, of its own settings and of collations are no functions for users.
_QUERY = """
SELECT lower(function_name) || ' ' || min(len(parameters)) || ' '
    || CASE WHEN count(varargs) > 0 THEN '*' ELSE CAST(max(len(parameters)) AS VARCHAR) END AS line
FROM duckdb_functions()
WHERE function_type IN ('scalar', 'aggregate', 'macro', 'window')
    AND regexp_full_match(function_name, '[a-zA-Z][a-zA-Z0-9_]*')
    AND NOT regexp_matches(lower(function_name),
        '^(pg_|has_|duckdb_|current_|write_|getvariable|nextval|currval|txid|in_search|create_sort|collate_|icu_|spark_)')
    AND NOT starts_with(function_name, 'modelyard')
GROUP BY lower(function_name)
ORDER BY 1
"""


def asked(guest: Guest) -> str:
    """The list as the file has it."""
    reply = guest.call("sql", {"query": _QUERY, "tables": {}, "memory_gib": 1}, [])
    assert reply.result is not None, reply.error
    with guest.open(reply.result["twin"]) as file:
        lines = pa.ipc.open_file(file.read()).read_all().column("line").to_pylist()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({}, home=Path(folder), cache=shared_cache())
        sandbox = Sandbox(settings)
        with (base := Environments(settings, sandbox).base()).hold():
            print(asked(sandbox.start(base.interpreter, Limits(memory_gib=1, timeout_s=60))), end="")
        sandbox.close()
