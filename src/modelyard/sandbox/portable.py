"""The part of the guest that exported models take along, so that they behave elsewhere as they do here."""

from pathlib import Path

_GUEST = Path(__file__).parent / "guest"
#: Modules of the guest that `guest/portable.py` needs, itself included.
_MODULES = (
    "__init__", "answers", "artifacts", "code", "failures", "frames", "imports", "inputs", "model", "portable",
    "source", "stored", "streams",
)  # fmt: skip
PACKAGE = "modelyard_guest"


def runtime_files() -> dict[str, bytes]:
    """Their files, by the names under which an export has them; `serve.py` is the script at its top."""
    files = {f"runtime/{PACKAGE}/{name}.py": (_GUEST / f"{name}.py").read_bytes() for name in _MODULES}
    return files | {"serve.py": (_GUEST / "serve.py").read_bytes()}
