"""What users read of uv's words."""

import pytest

from modelyard.environments.reasons import build_failure, clean, resolution_failure

CONFLICT = "error: No solution found when resolving dependencies\n  cause: Because a was not found"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("fetch https://user:secret@example.org/simple/a/", "fetch https://example.org/simple/a/"),
        ("fetch https://token@example.org/a?sig=secret#x", "fetch https://example.org/a"),
        ("fetch `https://u:p@example.org/a?sig=secret`", "fetch `https://example.org/a`"),
        ("at /home/me/.modelyard/environments/x/lock.txt: no", "at lock.txt: no"),
        ("from file:///srv/wheels/simple now", "from a local index now"),
        ("\x1b[31merror\x1b[0m: a/b", "error: a/b"),
    ],
)
def test_credentials_and_paths_are_taken_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_endless_reasons_are_cut_and_say_so() -> None:
    assert clean("x" * 7000).endswith("(1000 more characters)")


def test_a_conflict_says_so_first_and_is_final() -> None:
    error = resolution_failure(CONFLICT, 2, wheels_only=True)
    assert error.message.startswith("No set of package versions satisfies the 2 requirements")
    assert "Because a was not found" in error.message
    assert not error.temporary


def test_an_index_that_does_not_answer_is_temporary() -> None:
    error = resolution_failure(
        "error: Failed to fetch: https://u:p@x.example/a\n cause: dns error", 1, wheels_only=True
    )
    assert error.temporary
    assert "did not answer" in error.message
    assert "u:p" not in error.message


def test_a_full_disk_is_said_in_one_sentence() -> None:
    error = build_failure("error: failed to write /a/b/c: No space left on device (os error 28)")
    assert error.message == "The environment could not be built: the disk is full."
    assert error.temporary


def test_advice_about_the_tools_own_flags_is_left_out() -> None:
    words = f"{CONFLICT}\nhint: try --find-links"
    assert "find-links" not in resolution_failure(words, 1, wheels_only=True).message
