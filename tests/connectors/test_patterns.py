"""Patterns: what they fit, and that no pattern takes long."""

import time

import pytest

from modelyard.connectors.patterns import read_pattern


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("a/b.csv", ["a/b.csv"], ["a/b.csvx", "a/b", ""]),
        ("a/", ["a/b.csv", "a/c/d.csv"], ["a", "a/", "b/c.csv", "a/_SUCCESS", "a/c/.x", "a/_t/x.csv"]),
        ("", ["b.csv", "c/d.csv"], [".x"]),
        ("a/*.csv", ["a/b.csv", "a/.csv.csv".replace("/.", "/x.")], ["a/b/c.csv", "a/b.csv.gz", "b/b.csv"]),
        ("a/**/*.csv", ["a/b.csv", "a/c/b.csv", "a/c/d/b.csv"], ["a/c/d/b.txt", "c/b.csv"]),
        ("a/20??-[01]1.csv", ["a/2024-01.csv", "a/2024-11.csv"], ["a/2024-21.csv", "a/20245-01.csv"]),
        ("**/b.csv", ["b.csv", "a/b.csv"], ["a/xb.csv"]),
        ("a*", ["a", "ab"], ["a/b", "ba"]),
        ("[", [], ["a"]),
        ("a+(b).csv*", ["a+(b).csv"], ["aab.csv"]),
    ],
)
def test_a_pattern_fits_what_it_says(pattern: str, fitting: list[str], others: list[str]) -> None:
    rule = read_pattern(pattern)
    assert [path for path in fitting if not rule.fits(path)] == []
    assert [path for path in others if rule.fits(path)] == []


@pytest.mark.parametrize("pattern", ["*a" * 500 + "b", "**/" * 300 + "b", "*" * 1000 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    start = time.thread_time()
    assert not read_pattern(pattern).fits("a" * 500 + "/a" * 100)
    assert time.thread_time() - start < 2
