"""What the columns of a project's table are likely to be: guessed from their names and types.

A guess is only made where name and type agree, and a mapping that only one column may have goes to the column whose
name says it most plainly. Nothing is required, so nothing is guessed from position alone.
"""

import re
from collections.abc import Iterable, Sequence

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.wire import FeatureShape
from modelyard.projects.requirements import MAPPINGS, REPEATABLE, check_mapping

#: Names of columns that say what they are: the first pattern that fits any column says it most plainly.
_NAMES: dict[str, tuple[str, ...]] = {
    "TARGET": (r"target", r"label", r"y", r"(is_)?churn(ed)?", r".*_(target|label)", r"outcome|response|class"),
    "TIMESTAMP": (r"(event_)?(timestamp|ts)", r"(event_)?time", r".*_at", r".*_(timestamp|ts)"),
    "DATE": (r"date|day", r".*_date"),
    "USER_ID": (r"user_?id", r"(customer|client|member|account)_?id", r"user|customer"),
    "ITEM_ID": (r"item_?id", r"(product|article|sku|movie|content)_?id", r"item|sku"),
    "PREDICTION_ID": (r"prediction_?id", r"(row|record)_?id", r"id"),
    "WEIGHT": (r"(sample_|row_)?weight",),
    "TEST_DATA": (r"is_test|test_data|(train_test_)?split|fold",),
}
#: Mappings that one column takes from another, since both names fit: the earlier is asked first.
_ORDER = tuple(_NAMES)


def infer(features: Sequence[FeatureShape]) -> dict[str, str]:
    """Feature -> mapping, for those that can be told; each mapping once."""
    found: dict[str, str] = {}
    for mapping in _ORDER:
        fitting = [each for each in features if each.name not in found and each.feature_type in MAPPINGS[mapping][1]]
        name = _plainest(_NAMES[mapping], (each.name for each in fitting))
        if name is not None:
            found[name] = mapping
    return found


def moved(mappings: dict[str, str], feature: str, mapping: str | None) -> dict[str, str]:
    """The mappings with that column's set, or cleared; one that only one column may have leaves the other column."""
    if not mapping:
        return {name: kept for name, kept in mappings.items() if name != feature}
    wanted = check_mapping(mapping)
    others = {
        name: kept for name, kept in mappings.items() if name != feature and (kept != wanted or wanted in REPEATABLE)
    }
    return others | {feature: wanted}


def check_type(feature: FeatureShape, mapping: str | None) -> None:
    """InvalidParameterError if columns of that type can't be what the mapping says."""
    if not mapping:
        return
    allowed = MAPPINGS[check_mapping(mapping)][1]
    if feature.feature_type not in allowed and mapping.upper() not in REPEATABLE:
        raise InvalidParameterError(
            f"Column {feature.name!r} is {feature.feature_type}; {mapping.upper()} takes {', '.join(allowed)} "
            "(setFeatureType says otherwise)"
        )


def _plainest(patterns: Iterable[str], names: Iterable[str]) -> str | None:
    candidates = list(names)
    for pattern in patterns:
        for name in candidates:
            if re.fullmatch(pattern, _snake(name)):
                return name
    return None


def _snake(name: str) -> str:
    """`userId`, `User ID` and `user-id` are `user_id`."""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()
