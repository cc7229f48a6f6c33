"""Locks: one spelling, one identity, nothing but names, versions and hashes."""

import pytest

from modelyard.environments import BuildFailed
from modelyard.environments.lock import parse_lock

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
LOCK = f"b==1.0 \\\n    --hash={TWO} \\\n    --hash={ONE}\na-x==2.0 --hash={ONE}\n"


def test_the_identity_is_that_of_the_content_not_of_the_spelling() -> None:
    other = f"# made by hand\nA_x==2.0 --hash={ONE}   # why\n\nB==1.0 --hash={ONE} --hash={TWO}\n"
    assert parse_lock(LOCK).id == parse_lock(other).id
    assert str(parse_lock(other)) == str(parse_lock(LOCK))
    assert parse_lock(str(parse_lock(LOCK))) == parse_lock(LOCK)


def test_another_version_or_hash_is_another_identity() -> None:
    assert parse_lock(LOCK).id != parse_lock(LOCK.replace("2.0", "2.1")).id
    assert parse_lock(LOCK).id != parse_lock(LOCK.replace(TWO, "sha256:" + "3" * 64)).id


def test_a_marker_stays() -> None:
    (package,) = parse_lock(f"a==1 ; python_version >= '3.9' --hash={ONE}").packages
    assert package.marker == "python_version >= '3.9'"


@pytest.mark.parametrize(
    "line",
    [
        "a==1.0",
        f"a>=1.0 --hash={ONE}",
        f"a @ https://example.org/a.whl --hash={ONE}",
        f"-r other.txt --hash={ONE}",
        "--index-url https://user:secret@example.org/simple",
        "--find-links /tmp",
        "a==1.0 --hash=sha256:xyz",
        f"a==1.0 --hash={ONE} --pre",
        "git+https://example.org/a.git",
    ],
)
def test_a_line_that_is_no_locked_package_is_refused(line: str) -> None:
    with pytest.raises(BuildFailed, match="The lock can't be used"):
        parse_lock(line)


def test_a_lock_of_unreasonable_size_is_refused() -> None:
    with pytest.raises(BuildFailed, match="more than"):
        parse_lock("#" * (9 * 1024**2))
