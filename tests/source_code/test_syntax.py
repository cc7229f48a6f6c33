"""Sources that do not compile, and how the findings are shown."""

import pytest

from tests.source_code.conftest import Refusal, Report


def test_a_syntax_error_shows_line_column_and_the_line(refusal: Refusal) -> None:
    assert refusal("x = 1\ndef train(a:\n    return a\n") == (
        "The source code is invalid: 1 problem.\n"
        "line 2, column 10: SyntaxError: '(' was never closed.\n"
        "    def train(a:\n"
        "             ^"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("return 1\n", "'return' outside function"),
        ("def f():\n    x = 1\n    global x\n", "name 'x' is assigned to before global declaration"),
        ("break\n", "'break' outside loop"),
        ("def f(a, a): pass\n", "duplicate argument 'a'"),
        ("if 1:\nx = 1\n", "IndentationError"),
        ("if 1:\n\tx = 1\n        y = 2\n", "TabError"),
        ("print 'old'\n", "Missing parentheses"),
        ("await f()\n", "'await' outside function"),
        ("\ufeffx = 1\n", "byte order mark"),
        ("x = '\0'\n", "NUL character"),
    ],
)
def test_what_the_parser_or_the_compiler_refuses_is_refused(refusal: Refusal, source: str, said: str) -> None:
    assert said in refusal(source)


def test_what_python_warns_of_is_a_warning(report: Report) -> None:
    (warning,) = report("x = 1\ny = x is 'a'\n").warnings
    assert warning.line == 2
    assert '"is" with' in warning.message


def test_other_encoding_declarations_are_told_to_be_ignored(report: Report) -> None:
    assert "`utf-16` is ignored" in report("# -*- coding: utf-16 -*-\nx = 'ä'\n").warnings[0].message
    assert report("# -*- coding: utf-8 -*-\nx = 'ä'\n").warnings == []


def test_every_kind_of_line_end_counts_as_python_counts_it(refusal: Refusal) -> None:
    assert "line 3, column 1" in refusal("x = 1\r\ny = 2\rgone\n")
    assert "line 1, column 16" in refusal("x = '\u2028 \x0c'; y = gone\n")


def test_at_most_twenty_findings_are_shown_and_the_rest_counted(refusal: Refusal) -> None:
    message = refusal("".join(f"gone_{number}\n" for number in range(50)))
    assert message.startswith("The source code is invalid: 50 problems.\n")
    assert message.count("is not defined") == 20
    assert message.endswith("... and 30 more.")


def test_findings_come_in_the_order_of_the_source(refusal: Refusal) -> None:
    message = refusal("a = gone\nimport acme\ndef train(): pass\n", 2, train="train")
    assert [line.split(",")[0] for line in message.splitlines() if line.startswith("line")] == [
        "line 1",
        "line 2",
        "line 3",
    ]


def test_a_long_line_is_shown_around_its_finding(refusal: Refusal) -> None:
    message = refusal("x = [" + "1, " * 100_000 + "gone]\n")
    code, caret = message.splitlines()[-2:]
    assert len(message) < 1000
    assert code[caret.index("^") :].startswith("gone]")
