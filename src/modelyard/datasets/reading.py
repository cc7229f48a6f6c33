"""How bytes are to be read as a table: the formats, and what a caller may say about one.

The enumeration is the SDK's, so that a caller gets a clear refusal instead of an unknown word.
Source: the SDK's `FileFormat` and `ParsingConfig`.
"""

from enum import StrEnum

import msgspec

from modelyard.errors import InvalidParameterError


class FileFormat(StrEnum):
    """Formats of files, by the SDK's names."""

    AVRO = "AVRO"
    PARQUET = "PARQUET"
    TFRECORD = "TFRECORD"
    TSV = "TSV"
    CSV = "CSV"
    ORC = "ORC"
    JSON = "JSON"
    ODS = "ODS"
    XLS = "XLS"
    GZ = "GZ"
    ZIP = "ZIP"
    TAR = "TAR"
    DOCX = "DOCX"
    PDF = "PDF"
    MD = "md"
    RAR = "RAR"
    GIF = "GIF"
    JPEG = "JPG"
    PNG = "PNG"
    TIF = "TIFF"
    NUMBERS = "NUMBERS"
    PPTX = "PPTX"
    PPT = "PPT"
    HTML = "HTML"
    TXT = "txt"
    EML = "eml"
    MP3 = "MP3"
    M4A = "m4a"
    WAV = "wav"
    AAC = "aac"
    FLAC = "flac"
    OGG = "ogg"
    AMR = "amr"
    AIFF = "aiff"
    MP4 = "MP4"
    AVI = "avi"
    MKV = "mkv"
    M4V = "m4v"
    THREE_GP = "3gp"
    FLV = "flv"
    MOV = "mov"
    MPG = "mpg"
    MPEG = "mpeg"
    WEBP = "webp"
    WEBM = "webm"
    WMV = "wmv"
    MSG = "msg"
    TS = "TS"
    TSX = "TSX"
    EPUB = "epub"


#: Formats that hold tables and can be read here.
READABLE = (
    FileFormat.CSV, FileFormat.TSV, FileFormat.JSON, FileFormat.PARQUET, FileFormat.AVRO, FileFormat.ORC,
    FileFormat.XLS, FileFormat.ODS, FileFormat.GZ, FileFormat.ZIP, FileFormat.TAR,
)  # fmt: skip
#: Formats of which one may hold a spreadsheet.
_MAY_HOLD_SHEETS = (None, FileFormat.XLS, FileFormat.ODS, FileFormat.GZ, FileFormat.ZIP, FileFormat.TAR)


class ParsingConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a caller says about a file's text."""

    escape: str = '"'
    csv_delimiter: str | None = None
    file_path_with_schema: str | None = None
    excel_sheet: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a version's bytes are read."""

    #: None: recognised by what the file begins with.
    format: FileFormat | None = None
    delimiter: str | None = None
    escape: str = '"'
    merge_schemas: bool = False
    #: The sheet of a spreadsheet; None: the first one.
    sheet: str | None = None
    parsing_config: ParsingConfig | None = None
    #: Column -> the data type that it is converted to.
    column_types: dict[str, str] = {}


def read_options(
    file_format: FileFormat | None,
    csv_delimiter: str | None,
    parsing_config: ParsingConfig | None,
    *,
    merge_file_schemas: bool = False,
) -> Reading:
    """What was asked for; InvalidParameterError for what can't be read here."""
    if file_format is not None and file_format not in READABLE:
        names = ", ".join(READABLE)
        raise InvalidParameterError(f"Files of the format {file_format} can't be imported here; these can: {names}")
    config = parsing_config or ParsingConfig()
    if config.file_path_with_schema:
        raise InvalidParameterError("parsingConfig.filePathWithSchema can't be used here; leave it out")
    if config.excel_sheet and file_format not in _MAY_HOLD_SHEETS:
        raise InvalidParameterError(
            f"parsingConfig.excelSheet names a sheet, but files of the format {file_format} have none; leave it out"
        )
    delimiter = csv_delimiter or config.csv_delimiter or None
    for name, text in (("csvDelimiter", delimiter), ("parsingConfig.escape", config.escape)):
        if text is not None and (len(text) != 1 or text in "\r\n\0" or not text.isascii()):
            raise InvalidParameterError(f"{name} must be one ASCII character, not {text[:20]!r}")
    return Reading(
        format=file_format,
        delimiter=delimiter,
        escape=config.escape,
        merge_schemas=merge_file_schemas,
        sheet=config.excel_sheet or None,
        parsing_config=parsing_config,
    )
