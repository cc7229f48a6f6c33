"""Which reader reads which format, and how a format is recognised where nobody named it.

What a file begins with is compared with what it was declared to be, so that a wrong declaration is said as that.
"""

import zipfile
import zlib
from collections.abc import Callable

from . import archives, columnar, delimited, json_text, spreadsheets
from .failures import Refused
from .uploads import Found, Options, Source

_READERS: dict[str, Callable[[Source, Options], Found]] = {
    "CSV": delimited.read,
    "TSV": delimited.read,
    "JSON": json_text.read,
    "PARQUET": columnar.read_parquet,
    "ORC": columnar.read_orc,
    "AVRO": columnar.read_avro,
    "XLS": spreadsheets.read,
    "ODS": spreadsheets.read,
}
_SHEETS = ("XLS", "ODS")
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
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "XLS",
}
#: Members by which a ZIP archive is known as a workbook.
_WORKBOOKS = {"xl/workbook.xml": "XLS", "xl/workbook.bin": "XLS"}
_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
#: Archives inside archives are read so deep (a TAR packed by gzip is one of depth two).
_DEPTH = 3


def read(source: Source, options: Options, depth: int = 0) -> Found:
    """The table in the file, as declared, or as what it begins with says where nothing was declared."""
    seen = _recognised(source)
    declared = options.format if depth == 0 or seen not in _ARCHIVES else seen
    if depth and options.format in _ARCHIVES:
        declared = seen  # the archive was declared, not what is inside
    kind = declared or seen or _text_kind(source.head)
    if kind == "ZIP" and seen in _SHEETS:
        kind = seen  # a workbook is a ZIP archive, but never means its members
    if kind in _ARCHIVES:
        if depth == _DEPTH:
            raise Refused("There are archives inside archives inside archives.", "ValueError")
        return _ARCHIVES[kind](source, options, lambda inner, same: read(inner, same, depth + 1))
    if kind not in _READERS:
        raise Refused(f"Files of the format {kind} can't be read as a table.", "ValueError")
    if seen in _ARCHIVES and depth < _DEPTH:
        return _ARCHIVES[seen](source, options, lambda inner, same: read(inner, same, depth + 1))
    if options.sheet is not None and kind not in _SHEETS:
        raise Refused(f"{source.name} is no spreadsheet, so it has no sheet {options.sheet!r}.", "ValueError")
    if seen is not None and seen != kind and not {seen, kind} <= set(_SHEETS):
        raise Refused(f"{source.name} was declared {kind}, but it is {seen}.", "ValueError")
    return _READERS[kind](source, options if options.format == kind else _as(options, kind))


def _as(options: Options, kind: str) -> Options:
    import dataclasses

    return dataclasses.replace(options, format=kind)


def _recognised(source: Source) -> str | None:
    for magic, kind in _MAGIC.items():
        if source.head.startswith(magic):
            return _workbook(source) or kind if kind == "ZIP" else kind
    return "TAR" if source.head[257:262] == b"ustar" else None


def _workbook(source: Source) -> str | None:
    """What kind of workbook a ZIP archive is; None where it is none."""
    archives.check_directory(source)
    try:
        with source.open() as packed, zipfile.ZipFile(packed) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 1000:
                return "ODS" if archive.read("mimetype").startswith(_ODS) else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error):
        return None  # what is wrong with it is said by the one who reads it
    return next((kind for name, kind in _WORKBOOKS.items() if name in names), None)


def _text_kind(head: bytes) -> str:
    return "JSON" if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else "CSV"
