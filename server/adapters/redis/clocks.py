"""The clocks that the log in Redis goes by."""

from collections.abc import Callable
from dataclasses import dataclass

from server.adapters.clock import now_ms


@dataclass(frozen=True, slots=True)
class Clocks:
    """`own` is the clock of this process, in ms. Age counts by Redis' own clock, or by `store` if a test moves time."""

    own: Callable[[], int] = now_ms
    store: Callable[[], int] | None = None
