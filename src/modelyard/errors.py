"""Every error that a caller can meet, with its name on the wire and its HTTP status.

Raised anywhere in the house, turned into the answer's envelope at one place only: the door (`modelyard.api`).
The names are those that the official SDK knows; it looks an `errorType` up among its own globals, so no other
name may ever be sent. Source: the SDK's `client.py`, `_get_exception_class`.
A message says what was given, what was expected and what to do; it never holds a secret or a path of ours.
"""

from typing import ClassVar


class ApiError(Exception):
    """Base of every error that crosses the door."""

    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def error_type(self) -> str:
        return type(self).__name__


class MissingParameterError(ApiError):
    """A required parameter is missing."""

    status = 400


class InvalidParameterError(ApiError):
    """A parameter has a value that can't be used."""

    status = 400


class InvalidEnumParameterError(ApiError):
    """A parameter has a value outside its enumeration."""

    status = 400


class InvalidRequest(ApiError):
    """The request can't be understood."""

    status = 400


class GenericPermissionDeniedError(ApiError):
    """Invalid API Key"""

    status = 403


class PermissionDeniedError(ApiError):
    """This key may not do that."""

    status = 403


class DataNotFoundError(ApiError):
    """No such object."""

    status = 404


class Generic404Error(ApiError):
    """No such action."""

    status = 404


class MethodNotAllowed(ApiError):
    """The action exists, but not under this HTTP verb."""

    status = 405


class RequestTimeoutError(ApiError):
    """The work took longer than its limit."""

    status = 408


class ConflictError(ApiError):
    """The request contradicts what is there."""

    status = 409


class AlreadyExistsError(ApiError):
    """An object of that name is there already."""

    status = 409


class NotReadyError(ApiError):
    """The object is not ready yet; ask again later."""

    status = 409


class RequestTooLargeError(ApiError):
    """The request is larger than its limit."""

    status = 413

    @property
    def error_type(self) -> str:
        return "InvalidRequest"


class FailedDependencyError(ApiError):
    """Something that this stands on has failed."""

    status = 424


class TooManyRequestsError(ApiError):
    """Too many requests at once; try again after `retry_after_s` seconds."""

    status = 429

    def __init__(self, message: str | None = None, retry_after_s: int = 1, limit: str = "queue") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        #: Which limit it was: that of a deployment, of a token, or of what can wait.
        self.limit = limit


class PredictionError(ApiError):
    """The model's own code failed on this query."""

    # The name and status that the hosted service answers with when user code fails.
    status = 500

    @property
    def error_type(self) -> str:
        return "InvalidRequest"


class InternalServerError(ApiError):
    """Something went wrong on our side; the log has the details under this request's id."""

    status = 500
