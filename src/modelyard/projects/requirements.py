"""What a project needs before its models can be trained: kinds of tables, and the columns that they may name.

What is trained here are Python models, whatever the use case says, and a Python model takes any table: so every use
case knows one kind of table, none is required, and every mapping of a column is a note for people and for the
heuristics of `feature_groups.mappings`. Source: the SDK's UseCaseRequirements and ProblemType.
"""

import difflib
from typing import Any

from modelyard.errors import InvalidEnumParameterError
from modelyard.projects.use_cases import PROBLEM_TYPES
from modelyard.projects.wire import ProblemTypeShape, UseCaseRequirementsShape

#: The one kind of table. Source: the SDK's addFeatureGroupToProject, feature_group_type.
CUSTOM_TABLE = "CUSTOM_TABLE"
_ANY = ["CATEGORICAL", "NUMERICAL", "TIMESTAMP", "TEXT", "JSON"]
#: What a column may be said to be, in words and with the feature types that fit.
MAPPINGS: dict[str, tuple[str, list[str]]] = {
    "TARGET": ("What is to be predicted", ["CATEGORICAL", "NUMERICAL"]),
    "PREDICTION_ID": ("What names a row in predictions", ["CATEGORICAL", "NUMERICAL", "TEXT"]),
    "TIMESTAMP": ("When a row came to be", ["TIMESTAMP"]),
    "USER_ID": ("Whom a row is about", ["CATEGORICAL", "NUMERICAL", "TEXT"]),
    "ITEM_ID": ("What thing a row is about", ["CATEGORICAL", "NUMERICAL", "TEXT"]),
    "DATE": ("The date of a value in a series", ["TIMESTAMP"]),
    "WEIGHT": ("How much a row counts", ["NUMERICAL"]),
    "TEST_DATA": ("Whether a row is kept for testing", ["CATEGORICAL", "NUMERICAL"]),
    "IGNORE": ("Not to be used", _ANY),
}
#: Mappings that several columns of one table may have.
REPEATABLE = frozenset({"IGNORE"})


def requirements_of(use_case: str) -> list[UseCaseRequirementsShape]:
    """What projects of the use case may hold; InvalidEnumParameterError if there is no such use case."""
    problem_type_of(use_case)
    return [
        UseCaseRequirementsShape(
            dataset_type=CUSTOM_TABLE,
            name="Custom table",
            description="Any table; the functions of a Python model say what they need of it",
            required=False,
            multi=True,
            allowed_feature_mappings=_allowed(),
            allowed_nested_feature_mappings={},
        )
    ]


def describe_problem(problem_type: str) -> ProblemTypeShape:
    """What a problem type asks for; InvalidEnumParameterError if no use case has it."""
    known = sorted({*PROBLEM_TYPES.values(), "pretrained"})
    wanted = problem_type.lower()
    if wanted not in known:
        near = difflib.get_close_matches(wanted[:100], known, n=1) or ["trainable_plug_and_play"]
        raise InvalidEnumParameterError(
            f"Invalid value for problemType: {problem_type[:100]!r}; did you mean {near[0]}?"
        )
    return ProblemTypeShape(
        problem_type=wanted,
        required_feature_group_type=None,
        optional_feature_group_types=[CUSTOM_TABLE],
        use_cases_support_custom_algorithm=[],
    )


def problem_type_of(use_case: str) -> str:
    """The problem type of a use case; InvalidEnumParameterError names the nearest one if there is no such."""
    wanted = use_case.upper()
    if wanted in PROBLEM_TYPES:
        return PROBLEM_TYPES[wanted]
    if wanted.startswith("PRETRAINED_"):
        return "pretrained"
    near = difflib.get_close_matches(wanted[:100], PROBLEM_TYPES, n=1) or ["PYTHON_MODEL"]
    raise InvalidEnumParameterError(f"Invalid value for useCase: {use_case[:100]!r}; did you mean {near[0]}?")


def check_group_type(feature_group_type: str) -> str:
    """The kind of table; InvalidEnumParameterError if projects have none of that kind."""
    if feature_group_type.upper() != CUSTOM_TABLE:
        raise InvalidEnumParameterError(
            f"Invalid value for featureGroupType: {feature_group_type[:100]!r}; it must be {CUSTOM_TABLE}"
        )
    return CUSTOM_TABLE


def check_mapping(mapping: str) -> str:
    """The mapping of a column; InvalidEnumParameterError names the nearest if there is no such."""
    wanted = mapping.upper()
    if wanted not in MAPPINGS:
        near = difflib.get_close_matches(wanted[:100], MAPPINGS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it must be one of {', '.join(MAPPINGS)}"
        raise InvalidEnumParameterError(f"Invalid value for featureMapping: {mapping[:100]!r}; {hint}")
    return wanted


def _allowed() -> dict[str, dict[str, Any]]:
    return {
        name: {"description": words, "allowed_feature_types": types, "required": False}
        for name, (words, types) in MAPPINGS.items()
    }
