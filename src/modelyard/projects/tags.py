"""Tags: short words that people put on things, each once, in the order in which they came."""

from collections.abc import Sequence

from modelyard.errors import InvalidParameterError

#: Longest tag, and how many one thing may have.
LONGEST = 100
MOST = 100


def with_tags(tags: Sequence[str], added: Sequence[str]) -> list[str]:
    """The tags with those that are new; InvalidParameterError for what is no tag, or one too many."""
    together = list(dict.fromkeys([*tags, *(_checked(tag) for tag in added)]))
    if len(together) > MOST:
        raise InvalidParameterError(f"There would be {len(together)} tags; at most {MOST} are allowed")
    return together


def without_tags(tags: Sequence[str], removed: Sequence[str]) -> list[str]:
    """The tags without those; what isn't there is as good as removed."""
    gone = {tag.strip() for tag in removed}
    return [tag for tag in tags if tag not in gone]


def _checked(tag: str) -> str:
    tag = tag.strip()
    if not 0 < len(tag) <= LONGEST:
        raise InvalidParameterError(f"Invalid tag {tag[:200]!r}: it must have 1 to {LONGEST} characters")
    return tag
