"""Variables of functions: their types, their values, and the two spellings in which they come."""

from typing import Any

import pytest

from modelyard.errors import InvalidEnumParameterError, InvalidParameterError
from modelyard.source_code.variables import Variable, check_value, read_outputs, read_variables


def read(**given: Any) -> Variable:
    [variable] = read_variables("mappings", [{"name": "x", **given}])
    return variable


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("INTEGER", 3, 3),
        ("FLOAT", 3, 3.0),
        ("FLOAT", 0.5, 0.5),
        ("BOOLEAN", False, False),
        ("STRING", "text", "text"),
        ("JSON", {"a": [1]}, {"a": [1]}),
        ("JSON", '{"a": [1]}', {"a": [1]}),
        ("LIST", [1, "a"], [1, "a"]),
        ("FEATURE_GROUP", "rows", "rows"),
        ("MODEL_ID", "1e58b9d68a", "1e58b9d68a"),
    ],
)
def test_a_value_of_its_type_is_handed_on(kind: str, value: object, expected: object) -> None:
    assert check_value(read(variableType=kind, value=value)) == expected


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("INTEGER", True, "a whole number"),
        ("INTEGER", 1.5, "a whole number"),
        ("INTEGER", "1", "a whole number"),
        ("FLOAT", "1", "a number"),
        ("BOOLEAN", 1, "true or false"),
        ("STRING", 1, "a text"),
        ("JSON", "{", "an object or a list"),
        ("JSON", 1, "an object or a list"),
        ("LIST", {"a": 1}, "a list"),
        ("FEATURE_GROUP", ["rows"], "the name of a table"),
        ("DATASET_ID", 1, "an id"),
        ("ATTACHMENT", "file", "no chats here"),
    ],
)
def test_a_value_of_another_type_is_refused_with_both(kind: str, value: object, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"The value of x is .*; {kind} is .*{words}"):
        read(variable_type=kind, value=value)


def test_items_of_a_list_have_its_item_type() -> None:
    assert check_value(read(variableType="LIST", itemType="FLOAT", value=[1, 2.5])) == [1.0, 2.5]
    with pytest.raises(InvalidParameterError, match="every item is a number"):
        read(variableType="LIST", itemType="FLOAT", value=[1, "2"])


def test_both_spellings_are_read_and_shown() -> None:
    snake = read(variable_type="integer", is_required=False, long_description="long")
    camel = read(variableType="INTEGER", isRequired=False, longDescription="long")
    assert snake == camel
    shown = snake.shown
    assert (shown["variable_type"], shown["variableType"]) == ("INTEGER", "INTEGER")
    assert (shown["is_required"], shown["isRequired"]) == (False, False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "1x"}, "that of a parameter"),
        ({"name": "class"}, "that of a parameter"),
        ({}, "that of a parameter"),
        ({"name": "x", "isRequired": "yes"}, "isRequired of x"),
        ({"name": "x", "pipelineVariable": "p"}, "no pipelines here"),
        ({"name": "x", "variabelType": "STRING"}, "is no key of a variable"),
        ("x", "a list of objects"),
    ],
)
def test_what_is_no_variable_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        read_variables("mappings", [given])


def test_an_unknown_type_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidEnumParameterError, match="'TABLE' is no variableType; those are FEATURE_GROUP"):
        read(variableType="TABLE")
    with pytest.raises(InvalidEnumParameterError):
        read(variableType="ANY")
    with pytest.raises(InvalidEnumParameterError):
        read_outputs("outputs", [{"name": "y", "variableType": "FEATURE_GROUP"}])


def test_a_name_comes_once() -> None:
    with pytest.raises(InvalidParameterError, match="names the variable x twice"):
        read_variables("mappings", [{"name": "x"}, {"name": "x"}])
