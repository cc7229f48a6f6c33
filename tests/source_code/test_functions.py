"""The named functions: are they there, and can they be called as they will be?"""

import pytest

from tests.source_code.conftest import Refusal, Report


def train(parameters: str) -> str:
    return f"def train({parameters}):\n    return 1\n"


def predict(parameters: str) -> str:
    return f"def predict({parameters}):\n    return 1\n"


@pytest.mark.parametrize(
    ("parameters", "tables"),
    [
        ("", 0),
        ("a", 1),
        ("a, b", 2),
        ("a, b=None", 1),
        ("*tables", 7),
        ("a, *tables", 3),
        ("a, /, b", 2),
        ("a, training_config", 1),
        ("a, training_config=None", 1),
        ("a, *, training_config", 1),
        ("a, *, other=1, training_config=None", 1),
        ("training_config", 0),
        ("*a, training_config", 4),
        ("a, **more", 1),
        ("training_config, /", 1),
    ],
)
def test_train_is_accepted_if_it_takes_the_tables(report: Report, parameters: str, tables: int) -> None:
    assert report(train(parameters), tables, train="train").warnings == []


@pytest.mark.parametrize(
    ("parameters", "tables", "said"),
    [
        ("", 1, "takes 0 positional arguments, but is called with 1"),
        ("a", 0, "takes 1 positional argument, but is called with 0"),
        ("a", 2, "takes 1 positional argument, but is called with 2: the 2 tables"),
        ("a, b, c", 2, "takes 3 positional arguments"),
        ("a, b=1", 3, "takes 1 to 2 positional arguments"),
        ("a, b, *c", 1, "takes at least 2 positional arguments"),
        ("a, *, depth", 1, "requires the keyword `depth`"),
        ("training_config, a", 1, "`training_config` would get two values"),
        ("a, training_config", 2, "`training_config` would get two values"),
    ],
)
def test_train_is_refused_if_it_can_not_take_the_tables(
    refusal: Refusal, parameters: str, tables: int, said: str
) -> None:
    message = refusal(train(parameters), tables, train="train")
    assert message.startswith("The source code is invalid: 1 problem.\nline 1, column 1: ")
    assert said in message
    assert f"\n    def train({parameters}):\n    ^" in message


@pytest.mark.parametrize(
    ("parameters", "tables"),
    [("model, query", 0), ("model, query", 2), ("m, q, a, b", 2), ("m, q, **kwargs", 1), ("*a", 0), ("m, q, k=1", 0)],
)
def test_predict_is_accepted_with_model_and_query(report: Report, parameters: str, tables: int) -> None:
    assert report(predict(parameters), tables, predict="predict").warnings == []


@pytest.mark.parametrize(
    ("parameters", "tables"),
    [("", 0), ("model", 0), ("m, q, a", 2), ("m, q, a", 0), ("m, q, *, must", 0), ("m, *, query", 0)],
)
def test_predict_is_refused_without_model_and_query(refusal: Refusal, parameters: str, tables: int) -> None:
    assert "`predict`" in refusal(predict(parameters), tables, predict="predict")


def test_predict_many_takes_model_and_queries_and_initialize_the_model(report: Report, refusal: Refusal) -> None:
    source = "def many(model, queries):\n    return []\ndef start(model):\n    return model\n"
    report(source, predict_many="many", initialize="start")
    message = refusal(source, predict_many="start", initialize="many")
    assert "2 problems" in message
    assert "Write it as `def start(model, queries)`" in message
    assert "Write it as `def many(model)`" in message


def test_a_feature_group_function_takes_its_tables_or_its_bindings(report: Report, refusal: Refusal) -> None:
    source = "def join(items, events):\n    return items\n"
    report(source, 2, function="join")
    report(source, 0, function="join", keywords=["items", "events"])
    assert "takes 2 positional arguments" in refusal(source, 1, function="join")
    message = refusal(source, 0, function="join", keywords=["items", "clicks"])
    assert "called with the keyword `clicks`" in message


@pytest.mark.parametrize("role", ["train", "predict", "predict_many", "initialize", "function"])
def test_async_functions_and_generators_are_refused(refusal: Refusal, role: str) -> None:
    assert "is asynchronous" in refusal("async def f(*a):\n    return 1\n", **{role: "f"})
    assert "is a generator" in refusal("def f(*a):\n    yield 1\n", **{role: "f"})
    assert "is a generator" in refusal("def f(*a):\n    x = [(yield from a)]\n    return x\n", **{role: "f"})


def test_a_yield_of_an_inner_function_makes_no_generator(report: Report) -> None:
    report(
        "def f():\n    def rows():\n        yield 1\n    g = lambda: (yield)\n    return list(rows()), g\n", train="f"
    )


def test_a_missing_function_is_named_with_those_that_are_near(refusal: Refusal) -> None:
    message = refusal("def trian(a):\n    return a\ndef other():\n    pass\n", 1, train="train")
    assert "line 1, column 1: The train function `train` is not in the source code. Did you mean `trian`?" in message
    assert "`alpha`, `beta`" in refusal("def alpha(): pass\ndef beta(): pass\n", train="train")
    assert "It defines no function at top level: add `def train(...)`." in refusal("x = 1", train="train")


def test_a_function_inside_a_class_or_function_is_not_at_top_level(refusal: Refusal) -> None:
    message = refusal("class M:\n    def train(self):\n        return 1\n", train="train")
    assert "line 2, column 5: " in message
    assert "is not at top level" in message


def test_a_function_under_the_main_guard_is_not_there(refusal: Refusal) -> None:
    source = 'if __name__ == "__main__":\n    def train():\n        return 1\n'
    assert "is not in the source code" in refusal(source, train="train")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def _train(a):\n    return a\ntrain = _train\n", "is another name for `_train`"),
        ("import os\nif os.name:\n    def train(a):\n        return a\n", "under a condition"),
        ("from functools import partial\ntrain = partial(print, 1)\n", "was not checked"),
        ("class train:\n    pass\n", "was not checked"),
        ("from numpy import *\n", "may bring it"),
        ("import functools\n@functools.cache\ndef train():\n    return 1\n", "Its decorator may change that"),
    ],
)
def test_what_can_not_be_known_is_a_warning(report: Report, source: str, said: str) -> None:
    found = report(source, 1, train="train")
    assert any(said in warning.message for warning in found.warnings)


def test_an_alias_is_checked_like_what_it_stands_for(refusal: Refusal) -> None:
    assert "takes 0 positional arguments" in refusal("def f():\n    return 1\ntrain = f\n", 1, train="train")
    assert "takes 0 positional arguments" in refusal("train = lambda: 1\n", 1, train="train")


def test_the_last_definition_counts(report: Report) -> None:
    report("def train():\n    return 1\ndef train(a):\n    return a\n", 1, train="train")


def test_functions_that_are_not_named_are_not_looked_for(report: Report) -> None:
    assert report("x = 1\n").publishing_msg == {}
