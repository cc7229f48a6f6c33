"""Why an environment could not be had: two errors, each a clear sentence first and the tool's own reason after it.

They stay inside the house: a run turns them into the FAILED state of the version that asked for the environment.
Neither message holds a credential or a path of this machine; see `reasons.py`.
"""


class EnvironmentFailure(Exception):
    """An environment could not be made; `temporary` says whether the same request may succeed later."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.temporary = temporary


class ResolutionFailed(EnvironmentFailure):
    """No set of versions satisfies the requirements."""


class BuildFailed(EnvironmentFailure):
    """The locked packages could not be fetched, unpacked or installed."""


class EnvironmentInUse(EnvironmentFailure):
    """The environment is in use and can't be purged."""


class EnvironmentGone(EnvironmentFailure):
    """The environment has been purged; ensure it again."""
