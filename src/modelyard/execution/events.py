"""How the rooms above hear of runs that are not theirs: they register callbacks here, when the house is put together.

A run may work on what belongs to another room (a training materialises the tables that it reads). Its own kind's
`give_up` knows only its own rows; whoever lends out others listens here. Callbacks run in the transaction that ends it.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from modelyard.ids import RunId


class RunEvents:
    """Who wants to hear what."""

    def __init__(self) -> None:
        #: A run, of whatever kind, was given up or cancelled, and why.
        self.given_up: list[Callable[[Session, RunId, str], None]] = []
