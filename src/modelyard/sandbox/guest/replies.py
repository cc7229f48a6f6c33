"""What a replica answers to a call that it can't hand to the user's code."""


class BadRequest(Exception):
    """The call itself can't be understood, or asks what there is not; `kind` names the error that callers get."""

    def __init__(self, sentence: str, kind: str = "InvalidRequest") -> None:
        super().__init__(sentence)
        self.kind = kind
