"""Crons: five fields in UTC, and names."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidParameterError
from modelyard.refresh.cron import NAMES, next_time

MONDAY = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 6 * * 1", datetime(2026, 11, 30, 6, 0, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 23, 12, 45, tzinfo=UTC)),
        ("30 12 * * *", datetime(2026, 11, 24, 12, 30, tzinfo=UTC)),
        ("@hourly", datetime(2026, 11, 23, 13, 0, tzinfo=UTC)),
        ("@Daily", datetime(2026, 11, 24, 0, 0, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, 0, 0, tzinfo=UTC)),
    ],
)
def test_a_cron_names_its_next_moment(cron: str, expected: datetime) -> None:
    assert next_time(cron, MONDAY) == expected


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "61 * * * *", "a b c d e", "0 0 30 2 *", "@never"])
def test_a_cron_that_cannot_be_read_says_so(cron: str) -> None:
    with pytest.raises(InvalidParameterError, match="cron"):
        next_time(cron, MONDAY)


@given(
    st.sampled_from(sorted(NAMES)), st.datetimes(MONDAY.replace(tzinfo=None), MONDAY.replace(year=2100, tzinfo=None))
)
def test_the_next_moment_lies_in_the_future_and_on_a_whole_minute(cron: str, naive: datetime) -> None:
    after = naive.replace(tzinfo=UTC)
    found = next_time(cron, after)
    assert after < found <= after + timedelta(days=366)
    assert (found.second, found.microsecond) == (0, 0)


@given(st.text(max_size=40))
def test_no_text_does_worse_than_an_error(text: str) -> None:
    with contextlib.suppress(InvalidParameterError):
        assert next_time(text, MONDAY) > MONDAY
