"""Settings: one frozen record, read from `MODELYARD_*` environment variables, every limit with a sane default.

`Settings.load` is called once by the command line; everything else is handed the record.
`docs/configuration.md` is generated from the field comments below, so each field says what it is and its unit.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import msgspec

PREFIX = "MODELYARD_"

Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrZero = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(gt=0)]
AmountOrZero = Annotated[float, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator may set. Sizes are in bytes unless the name says GiB, times in seconds."""

    #: Where all state lives: database, blobs, environments, logs, sockets, keys.
    home: Path
    #: Where what can be made again lies: environments, packages, table twins; empty means `cache` under `home`.
    cache: Path | None = None
    #: SQLAlchemy URL; empty means SQLite in WAL mode under `home`.
    database_url: str = ""
    #: Address the gateway binds. Anything but loopback needs `insecure_bind` or TLS in front.
    host: str = "127.0.0.1"
    #: Port the gateway binds.
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8585
    #: Gateway processes that answer on that port together; more than one pays from some four cores on.
    gateways: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    #: URL under which clients reach the gateway; empty means http://host:port.
    public_url: str = ""
    #: Further host names that requests may carry in their Host header.
    allowed_hosts: tuple[str, ...] = ()
    #: Allow a bind to a non-loopback address without TLS.
    insecure_bind: bool = False
    #: Folders that `file:` locations of datasets may read from; none by default.
    file_roots: tuple[Path, ...] = ()
    #: Folders that exports to `file:` locations may write to; none by default.
    file_write_roots: tuple[Path, ...] = ()
    #: Exported CSV has a `'` before text that a spreadsheet would run (= + - @ and the like).
    formula_safe: bool = True
    #: Bytes of one part of an export to a folder, about.
    export_part_bytes: Count = 512 * 1024**2
    #: Seconds for which the link to an export's file is good.
    download_link_s: Amount = 3600.0
    #: Networks (10.0.0.0/8) that connectors may reach although they are private, loopback or link-local ones.
    allowed_networks: tuple[str, ...] = ()
    #: Bytes that one import may read from a location or a database.
    location_limit: Count = 100 * 1024**3
    #: Files that one location may stand for.
    location_files: Count = 10_000
    #: Rows that queryDatabaseConnector may answer with.
    connector_rows: Count = 10_000
    #: Seconds that a connector waits for a connection, and an interactive query for its answer.
    connector_timeout_s: Amount = 30.0
    #: Seconds that fetching one commit of a repository may take.
    fetch_timeout_s: Amount = 600.0

    #: Cores that the agent may hand to runs; 0 means all of the machine's.
    agent_cores: AmountOrZero = 0
    #: Memory that the agent may hand to runs, in GiB; 0 means all of the machine's.
    agent_memory_gib: AmountOrZero = 0
    #: Seconds that a claim on a run lasts without a heartbeat.
    lease_s: Amount = 15.0
    #: Longest time between two looks for work; agents are also woken at once on the same machine.
    poll_s: Amount = 0.5
    #: Attempts that a run gets when the platform, not the user's code, fails.
    run_attempts: Count = 3

    #: `required` refuses user code where no sandbox can be had; `off` runs it bare (trusted users only).
    sandbox: Literal["required", "off"] = "required"
    #: Warm guests kept waiting for each environment in use.
    warm_guests: CountOrZero = 1
    #: Wall-clock limit of a training run without TIMEOUT_MINUTES in its config.
    training_timeout_s: Amount = 6 * 3600.0
    #: Wall-clock limit of a dry run's import, training and predictions together.
    validation_timeout_s: Amount = 60.0
    #: Rows of each table that a dry run is given.
    validation_rows: Count = 1_000
    #: Days that the report of a dry run is kept.
    validation_days: AmountOrZero = 30.0
    #: Refuse updatePythonModel where a dry run of what it says fails; it then waits for that.
    validate_updates: bool = False
    #: Rows of the sample on which feature importance is measured.
    importance_rows: Count = 1_000
    #: How often each column's values are exchanged among them.
    importance_repeats: Count = 5
    #: Wall-clock limit of one measuring of feature importance.
    importance_timeout_s: Amount = 1800.0
    #: Wall-clock limit of a feature group's materialisation.
    materialization_timeout_s: Amount = 3600.0
    #: Wall-clock limit of one prediction call.
    prediction_timeout_s: Amount = 60.0
    #: Wall-clock limit of the `initialize` of a replica.
    initialize_timeout_s: Amount = 300.0
    #: Memory of a replica, in GiB.
    replica_memory_gib: Amount = 4.0
    #: Replicas of each deployment.
    replicas: Count = 1
    #: Seconds for which a lower load must last before a deployment gives replicas back, where their number may change.
    scale_down_s: AmountOrZero = 60.0
    #: Seconds for which calls wait while a deployment that slept is brought up again.
    wake_timeout_s: Amount = 60.0
    #: Calls that wait at one replica before further ones are refused with 429.
    replica_queue: Count = 256
    #: Bytes that a run's stdout and stderr keep together; what is past it is counted and said.
    log_limit: Count = 8 * 1024**2
    #: Bytes that metrics.json and metrics.jsonl of a training may each have.
    metrics_limit: Count = 8 * 1024**2
    #: Lines that metrics.jsonl may have.
    metrics_steps: Count = 200_000
    #: Scratch space of a guest, in GiB.
    scratch_gib: Amount = 20.0
    #: Processes and threads that one guest may have.
    guest_processes: Count = 512

    #: Largest body of an ordinary call.
    body_limit: Count = 32 * 1024**2
    #: Largest body of a prediction.
    prediction_body_limit: Count = 32 * 1024**2
    #: Largest answer of a prediction.
    prediction_answer_limit: Count = 128 * 1024**2
    #: What a scraper of /metrics sends as `Authorization: Bearer ...`; empty: administrators' API keys alone open it.
    metrics_token: str = ""
    #: Calls of one deployment that each gateway writes to the prediction log a second, and failures besides; 0: none.
    prediction_logs_a_second: CountOrZero = 10
    #: Bytes of what was asked, and of what was answered, that the prediction log keeps of a call; 0: none.
    prediction_log_bytes: CountOrZero = 4096
    #: Days for which the prediction log keeps a call where its deployment's options do not say.
    prediction_log_days: AmountOrZero = 7.0
    #: Calls of one deployment that the prediction log keeps; the janitor removes the oldest past it.
    prediction_log_rows: Count = 100_000
    #: Days for which the statistics of deployments are kept.
    statistics_days: AmountOrZero = 90.0
    #: Largest part of an upload.
    part_limit: Count = 128 * 1024**2
    #: Largest upload.
    upload_limit: Count = 5 * 1024**4
    #: Largest source code.
    source_limit: Count = 10 * 1024**2
    #: Largest archive of code: a zip, or a commit of a repository.
    code_archive_limit: Count = 256 * 1024**2
    #: Bytes that an archive of code may unpack to.
    code_unpacked_limit: Count = 1024**3
    #: Files that an archive of code may hold.
    code_files: Count = 5_000
    #: Import models that are pickles, too. They run code when they are opened, in a guest.
    pickled_models: bool = False
    #: Seconds that the check of one source may take.
    check_timeout_s: Amount = 10.0
    #: Bytes that a download call hands out at a time.
    download_chunk: Count = 10 * 1024**2
    #: Seconds that the official client, which polls, is kept waiting for the end of what it asks about.
    hold_s: AmountOrZero = 4.0
    #: Items of a list answer where the caller names no limit.
    page_size: Count = 100

    #: Rows that one call may write to an online feature group.
    online_rows_a_call: Count = 10_000
    #: Bytes of JSON that one row online may have.
    online_row_limit: Count = 1024**2
    #: Values that one row online may have.
    online_columns: Count = 1_000
    #: Values that one lookupFeatures may ask for.
    lookup_values: Count = 1_000
    #: Rows that one lookupFeatures may give.
    lookup_rows: Count = 10_000

    #: Environments on disk, in GiB; past it those that were used longest ago go. 0 means no limit.
    environments_limit_gib: AmountOrZero = 50.0
    #: Tables in the form that guests map, in GiB; past it those that were used longest ago go. 0 means no limit.
    tables_limit_gib: AmountOrZero = 100.0
    #: Seconds between two rounds of the janitor, which removes what nobody needs any more.
    upkeep_s: Amount = 3600.0
    #: Seconds for which a blob that nothing names is kept; longer than any call takes.
    blob_grace_s: AmountOrZero = 900.0
    #: Seconds for which results of queries, and tables as they were downloaded, are kept.
    results_keep_s: AmountOrZero = 7 * 24 * 3600.0

    #: Wheels only (true), or also packages that run their own build code, in the sandbox (false).
    wheels_only: bool = True
    #: Seconds that the build of one environment may take.
    build_timeout_s: Amount = 1800.0

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: object) -> "Settings":
        """Settings from `MODELYARD_*` variables; `overrides` (from the command line) win. Bad ones raise ValueError."""
        source = os.environ if environ is None else environ
        values: dict[str, object] = {"home": source.get(PREFIX + "HOME") or Path.home() / ".modelyard"}
        fields = {field.name: field for field in msgspec.structs.fields(cls)}
        for name, text in source.items():
            if not name.startswith(PREFIX) or name == PREFIX + "HOME":
                continue
            field = name.removeprefix(PREFIX).lower()
            if field not in fields:
                raise ValueError(f"{name} is not a setting; see `modelyard doctor --settings`")
            values[field] = _split(text, fields[field].type) if _is_list(fields[field].type) else text
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            settings = msgspec.convert(values, cls, strict=False, dec_hook=_decode)
        except msgspec.ValidationError as error:
            raise ValueError(_plainly(str(error), values, fields)) from error
        return msgspec.structs.replace(settings, home=settings.home.expanduser().absolute())

    @property
    def url(self) -> str:
        """The database's URL, spelled out."""
        return self.database_url or f"sqlite:///{self.home / 'modelyard.db'}"

    @property
    def cache_dir(self) -> Path:
        """The folder of what can be made again."""
        return self.cache or self.home / "cache"

    @property
    def base_url(self) -> str:
        """Where clients reach the gateway, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def _is_list(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _plainly(message: str, values: Mapping[str, object], fields: Mapping[str, msgspec.structs.FieldInfo]) -> str:
    """The sentence with the variable and its value in front: msgspec says `... - at `$.name``."""
    said, _, place = message.partition(" - at `$.")
    field = place.rstrip("`").partition("[")[0]
    if field not in values:
        return f"a setting has a value that can't be used: {message}"
    if get_origin(fields[field].type) is Literal:
        said = "expected " + " or ".join(map(repr, get_args(fields[field].type)))
    return f"{PREFIX}{field.upper()} is {str(values[field])[:100]!r}; {said[:1].lower()}{said[1:]}"


def _split(text: str, kind: object) -> list[str]:
    """Values separated by `:`; texts by commas where there is one, as an IPv6 network holds colons."""
    is_texts = getattr(kind, "__args__", ())[:1] == (str,)
    return [part.strip() for part in text.split("," if is_texts and "," in text else os.pathsep) if part.strip()]


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError(kind)
