"""Drafts that wait for JetStream, the plan for them, and the refusals that do not come from a draft itself."""

from collections.abc import Callable
from dataclasses import dataclass

from server.adapters.codec import DecodeError
from server.adapters.nats.deciding import Outcome, Work
from server.adapters.nats.entries import Entry
from server.domain.drafts import Sender
from server.domain.errors import MaruError, Unavailable


@dataclass(frozen=True, slots=True)
class Waiting:
    """A draft that waits, and the caller to tell."""

    work: Work
    sender: Sender | None
    done: Callable[[Outcome | Exception], None]

    def settle(self, outcome: Outcome | Exception) -> None:
        """Tell the outcome. A sender has failed with its first draft that it may try again."""
        if self.sender is not None and isinstance(outcome, MaruError) and outcome.retryable:
            self.sender.failed = True
        self.done(outcome)


@dataclass(frozen=True, slots=True)
class Planned:
    """The outcome of a draft, if the entries before it are written; `entry` is what is written for it."""

    waiting: Waiting
    outcome: Outcome | Exception
    entry: Entry | None


def away(error: Exception) -> MaruError:
    """Return the refusal after an error of the library or the store."""
    if isinstance(error, MaruError):
        return error
    away = Unavailable(f"NATS does not answer ({type(error).__name__})")
    away.__cause__ = error
    return away


def unreadable(error: DecodeError) -> Unavailable:
    """Return the refusal of a change to a message whose entry is damaged."""
    damaged = Unavailable("what the message log holds of this message can't be read")
    damaged.__cause__ = error
    return damaged


def out_of_order() -> Unavailable:
    """Return the refusal of a draft behind another of its sender that failed."""
    return Unavailable("an earlier command was not written, and this one must not overtake it")
