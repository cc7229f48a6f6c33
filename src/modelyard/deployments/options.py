"""What may be set for one deployment beyond what the official client has words for, and what holds by default.

Kept in one JSON column of the deployment, as far as somebody set it; `DeploymentOptions` reads it. Gateways know it by
their routing table, the serve run reads it from the row. `option_actions.py` changes and shows it. Who adds an option
adds a field here, with its bounds, and nothing else.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings

Replicas = Annotated[int, Meta(ge=1, le=64)]


class DeploymentOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The options of a deployment. A default is what holds where nothing was set; None: what the settings say."""

    #: Replicas that are kept up while the deployment is awake; None: as the setting `replicas` says.
    min_replicas: Replicas | None = None
    #: Replicas that there may be at most; None: as many as there are at least, so that their number is fixed.
    max_replicas: Replicas | None = None
    #: Calls under way and waiting for each replica, from which on there are to be more of them.
    target_queue: Annotated[float, Meta(gt=0, le=10_000)] = 4.0
    #: Seconds without a call after which the replicas are given back; None: never. The next call brings them up again.
    idle_timeout_s: Annotated[float, Meta(ge=1, le=31_536_000)] | None = None
    #: Single predictions that may go to `predict_many` as one call; 1: none do.
    max_batch_size: Annotated[int, Meta(ge=1, le=4096)] = 1
    #: Milliseconds that one such call may take: batches are made as large as that allows.
    latency_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 50.0
    #: Seconds for which the replicas of the former version are kept up after a switch, for `rollbackDeployment`.
    keep_former_s: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    #: The part of the successful calls that the prediction log takes, up to the setting `prediction_logs_a_second`;
    #: failures are taken up to the same number whatever it is.
    log_share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    #: The prediction log keeps what was asked and answered, `prediction_log_bytes` of each; else their sizes alone.
    log_bodies: bool = True
    #: Days for which the prediction log keeps a call; None: as the setting `prediction_log_days` says.
    log_days: Annotated[float, Meta(gt=0, le=3_650)] | None = None
    #: Bytes that one call, and its answer, may have; None: as many as the settings `prediction_body_limit` and
    #: `prediction_answer_limit` allow, which hold in any case.
    body_limit: Annotated[int, Meta(ge=1)] | None = None
    answer_limit: Annotated[int, Meta(ge=1)] | None = None

    def replicas(self, settings: Settings) -> tuple[int, int]:
        """How many replicas there are at least and at most."""
        least = self.min_replicas or min(max(settings.replicas, 1), self.max_replicas or settings.replicas)
        return least, max(least, self.max_replicas or least)


NONE = DeploymentOptions()
FIELDS = {field.encode_name: field for field in msgspec.structs.fields(DeploymentOptions)}


def read_options(stored: JsonObject | None) -> DeploymentOptions:
    """The options that a deployment's row holds."""
    return msgspec.convert(stored, DeploymentOptions) if stored else NONE


def change_options(stored: JsonObject | None, changes: JsonObject) -> JsonObject:
    """What the row is to hold after the changes: only the keys that they name differ, and null takes one back."""
    changed = dict(stored or {})
    for name, value in changes.items():
        if name not in FIELDS:
            near = difflib.get_close_matches(name[:100], FIELDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(FIELDS)}"
            raise InvalidParameterError(f"There is no option {name[:100]!r}{hint}")
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    try:
        options = msgspec.convert(changed, DeploymentOptions)
    except msgspec.ValidationError as error:
        raise InvalidParameterError(f"An option can't be used: {_plainly(str(error), changes)}") from error
    _check(options)
    given: JsonObject = msgspec.to_builtins(options)
    return {name: value for name, value in given.items() if name in changed}


def _check(options: DeploymentOptions) -> None:
    least, most = options.min_replicas, options.max_replicas
    if least is not None and most is not None and least > most:
        raise InvalidParameterError(f"minReplicas is {least} and maxReplicas {most}; there can't be fewer at most")


def _plainly(message: str, changes: Mapping[str, object]) -> str:
    """The sentence with the option and what was given in front: msgspec says `... - at `$.name``."""
    said, _, place = message.partition(" - at `$.")
    name = place.rstrip("`")
    return f"{name} is {changes[name]!r:.100}; {said[:1].lower()}{said[1:]}" if name in changes else said
