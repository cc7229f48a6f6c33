"""How the rooms above hear of datasets: they register callbacks here, when the house is put together.

Every callback runs in the transaction of what it is told about, and may refuse it by raising.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.datasets.records import Dataset, DatasetVersion, Upload


class DatasetEvents:
    """Who wants to hear what."""

    def __init__(self) -> None:
        #: A dataset was made. Raises AlreadyExistsError where its table's name is taken.
        self.created: list[Callable[[Session, Dataset], None]] = []
        #: A version has its table now.
        self.version_completed: list[Callable[[Session, DatasetVersion], None]] = []
        #: A dataset is about to be deleted. Raises ConflictError, naming them, where others stand on it.
        self.deleting: list[Callable[[Session, Dataset], None]] = []


class UploadEvents:
    """Who takes uploads that are no dataset's, by their kind."""

    def __init__(self) -> None:
        #: All parts have arrived and the upload is COMPLETE, in the transaction of that call.
        self.completed: dict[str, Callable[[Call, Upload], None]] = {}
        #: The upload was cancelled.
        self.cancelled: dict[str, Callable[[Call, Upload], None]] = {}
