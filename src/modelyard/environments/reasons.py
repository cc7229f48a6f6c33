"""The words of uv, made fit for users: no credentials, no paths of this machine, and a clear sentence in front.

`resolving.py` and `building.py` hand over what uv printed; what comes out ends in the version's error and its log.
"""

import re

from modelyard.environments.failures import BuildFailed, ResolutionFailed

#: Longest reason that is kept; resolvers can explain themselves for pages.
LONGEST = 6000

_CREDENTIALS = re.compile(r"(\w+://)[^/@\s]*@")
_QUERY = re.compile(r"(\w+://[^\s?#`]+)[?#][^\s`]*")
_FILE_URL = re.compile(r"file://(/[^\s`]*)")
_PATH = re.compile(r"(?<![\w:/.@])/(?:[^\s/`:,'\"]+/)+([^\s/`:,'\"]*)")
_HINT = re.compile(r"^\s*(hint:.*|.*--(?:find-links|index-url|index-strategy|prerelease)\b.*)$", re.MULTILINE)
_TEMPORARY = (
    "error sending request",
    "failed to fetch",
    "timed out",
    "dns error",
    "connection",
    "503 ",
    "502 ",
    "429 ",
)


def clean(text: str) -> str:
    """The text without credentials and without paths of this machine, of bounded length."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = _QUERY.sub(r"\1", _CREDENTIALS.sub(r"\1", text))
    text = _PATH.sub(r"\1", _FILE_URL.sub("a local index", text))
    text = text.strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... ({len(text) - LONGEST} more characters)"


def is_conflict(words: str) -> bool:
    """Whether uv gave up because of the requirements themselves, not because something was in its way."""
    return "No solution found" in words


def lacks_wheel(words: str) -> bool:
    """Whether what failed might succeed if packages could be built from source."""
    return "no wheels" in words or "no usable wheels" in words or "building from source is disabled" in words.lower()


def resolution_failure(words: str, requirements: int, *, wheels_only: bool) -> ResolutionFailed:
    """The error for a resolution that uv ended with these words."""
    temporary = not is_conflict(words) and any(sign in words.lower() for sign in _TEMPORARY)
    if "no space left" in words.lower():
        return ResolutionFailed("The requirements could not be resolved: the disk is full.", temporary=True)
    if temporary:
        first = "The requirements could not be resolved: a package index did not answer."
    elif is_conflict(words):
        first = f"No set of package versions satisfies the {requirements} requirements of this environment."
    else:
        first = "The requirements could not be resolved."
    if wheels_only and lacks_wheel(words):
        first += " Only packages with a ready-built wheel for this platform are allowed."
    return ResolutionFailed(f"{first}\n{clean(_HINT.sub('', words))}", temporary=temporary)


def build_failure(words: str) -> BuildFailed:
    """The error for an installation that uv ended with these words."""
    low = words.lower()
    temporary = any(sign in low for sign in _TEMPORARY)
    if "no space left" in low or "disk quota" in low:
        return BuildFailed("The environment could not be built: the disk is full.", temporary=True)
    if "hash mismatch" in low:
        first = "The environment could not be built: a package is not the one that was locked."
    elif temporary:
        first = "The environment could not be built: a package index did not answer."
    else:
        first = "The environment could not be built."
    return BuildFailed(f"{first}\n{clean(_HINT.sub('', words))}", temporary=temporary)
