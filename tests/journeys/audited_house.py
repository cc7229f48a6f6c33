"""A gateway and an agent in a process of their own, with a hook that writes down what of a user's they load or run.

`python -m tests.journeys.audited_house HOME CACHE` prints its URL and key, serves until its standard input ends, and
prints what was noticed. Imports nothing that would hide what the platform itself imports.
"""

import json
import sys
from pathlib import Path
from types import CodeType
from typing import Any

#: Stands in everything that a user hands over.
MARKER = "material of a user 5d1c77"
#: What reads tables, or what others have pickled: none of it belongs into the platform's own processes.
NOT_HERE = ("pandas", "numpy", "pyarrow", "polars", "duckdb", "cloudpickle", "joblib", "dill", "sklearn", "fastavro")

noticed: list[str] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        noticed.append(f"unpickled {arguments}")
    elif event == "marshal.loads" and MARKER.encode() in bytes(arguments[0]):
        noticed.append("unmarshalled")
    elif event == "compile" and MARKER in _text(arguments[0]):
        noticed.append(f"compiled {arguments[1]}")
    elif event == "exec" and _holds_marker(arguments[0]):
        noticed.append(f"executed {arguments[0]}")
    elif event == "import" and str(arguments[0]).startswith(("modelyard_source", "modelyard_guest")):
        noticed.append(f"imported {arguments[0]}")


def _text(source: object) -> str:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source).decode("utf-8", "replace")
    return source if isinstance(source, str) else ""


def _holds_marker(code: object) -> bool:
    if not isinstance(code, CodeType) or code.co_filename == __file__:
        return False
    return any(_holds_marker(each) or (isinstance(each, str) and MARKER in each) for each in code.co_consts)


def main() -> None:
    """Serves until standard input ends."""
    import threading

    import msgspec

    from modelyard import app
    from modelyard.api.serving import Server, listen
    from modelyard.settings import Settings

    home, cache = sys.argv[1:]
    settings = Settings.load({}, home=Path(home), cache=Path(cache), port=0, poll_s=0.1)
    listener = listen("127.0.0.1", 0)
    settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
    house = app.open_house(settings)
    parts = [app.gateway_parts(house), app.agent_parts(house)]
    server, agent = Server(app.gateway(house, parts[0]), listener), app.agent(house, parts[1])
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    agent.start()
    print(json.dumps({"url": settings.base_url, "key": house.first_key}), flush=True)
    sys.stdin.read()
    agent.stop()
    server.stop()
    thread.join(20)
    for each in parts:
        each.close()
    house.database.close()
    loaded = [name for name in NOT_HERE if name in sys.modules]
    print(json.dumps({"noticed": noticed, "loaded": loaded}), flush=True)


if __name__ == "__main__":
    sys.addaudithook(hook)
    main()
