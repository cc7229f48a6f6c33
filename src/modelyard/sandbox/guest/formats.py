"""Which reader reads which format, and how a format is recognised where nobody named it.

What a file begins with is compared with what it was declared to be, so that a wrong declaration is said as that.
"""

from collections.abc import Callable

from . import archives, columnar, delimited, json_text
from .failures import Refused
from .uploads import Found, Options, Source

_READERS: dict[str, Callable[[Source, Options], Found]] = {
    "CSV": delimited.read,
    "TSV": delimited.read,
    "JSON": json_text.read,
    "PARQUET": columnar.read_parquet,
    "ORC": columnar.read_orc,
    "AVRO": columnar.read_avro,
}
_ARCHIVES: dict[str, Callable[[Source, Options, archives.Open], Found]] = {
    "GZ": archives.read_gzip,
    "ZIP": archives.read_zip,
    "TAR": archives.read_tar,
}
_MAGIC = {
    b"PAR1": "PARQUET",
    b"Obj\x01": "AVRO",
    b"ORC": "ORC",
    b"\x1f\x8b": "GZ",
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
}
#: Archives inside archives are read so deep (a TAR packed by gzip is one of depth two).
_DEPTH = 3


def read(source: Source, options: Options, depth: int = 0) -> Found:
    """The table in the file, as declared, or as what it begins with says where nothing was declared."""
    seen = _recognised(source.head)
    declared = options.format if depth == 0 or seen not in _ARCHIVES else seen
    if depth and options.format in _ARCHIVES:
        declared = seen  # the archive was declared, not what is inside
    kind = declared or seen or _text_kind(source.head)
    if kind in _ARCHIVES:
        if depth == _DEPTH:
            raise Refused("There are archives inside archives inside archives.", "ValueError")
        return _ARCHIVES[kind](source, options, lambda inner, same: read(inner, same, depth + 1))
    if kind not in _READERS:
        raise Refused(f"Files of the format {kind} can't be read as a table.", "ValueError")
    if seen in _ARCHIVES and depth < _DEPTH:
        return _ARCHIVES[seen](source, options, lambda inner, same: read(inner, same, depth + 1))
    if seen is not None and seen != kind:
        raise Refused(f"{source.name} was declared {kind}, but it is {seen}.", "ValueError")
    return _READERS[kind](source, options if options.format == kind else _as(options, kind))


def _as(options: Options, kind: str) -> Options:
    import dataclasses

    return dataclasses.replace(options, format=kind)


def _recognised(head: bytes) -> str | None:
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "TAR" if head[257:262] == b"ustar" else None


def _text_kind(head: bytes) -> str:
    return "JSON" if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else "CSV"
