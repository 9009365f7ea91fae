"""What one process of the swarm is to do, and what it has to tell afterwards."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field, fields
from typing import Self

from loadtest.judge import Tally
from loadtest.latency import Latencies
from loadtest.wire import Json

EXAMPLES = 10
"""Faults that are described, beside being counted."""

PROBLEMS = 100
"""Kinds of problems that are counted, each by itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does. `rate` (messages/s) and `reconnect` (share of the clients a minute) are its own part;
    `first` is the number of its first client."""

    url: str
    prefix: str
    run: str
    first: int
    clients: int
    channels: int
    joins: int
    rate: float
    seconds: float
    reconnect: float
    size: int
    arrive_s: float
    settle_s: float

    def names(self, number: int) -> list[str]:
        """The channels of a client: neighbours, so that every channel has as many members."""
        return [self.channel((number + each) % self.channels) for each in range(self.joins)]

    def channel(self, number: int) -> str:
        """A channel's name; no other run has it."""
        return f"{self.prefix}-{self.run}-{number}"


@dataclass(slots=True)
class Counts:
    """What has happened, in one process or in all.

    `delivered` are the log events that reached a member, `replayed` those of them that came by a resume. `withheld` are
    messages that nobody could send at their time; `refused` those that the server took for wrong; `unanswered` those
    that were never acked. `silent` clients gave up a server that said nothing; `absent` ones were not back at the end;
    `garbled` is what broke the protocol. `problems` are closes and refusals, which a client gets over, by their text.
    """

    arrived: int = 0
    sent: int = 0
    acked: int = 0
    delivered: int = 0
    replayed: int = 0
    withheld: int = 0
    refused: int = 0
    unanswered: int = 0
    reconnects: int = 0
    silent: int = 0
    absent: int = 0
    garbled: int = 0
    tally: Tally = field(default_factory=Tally)
    problems: Counter[str] = field(default_factory=Counter)
    examples: deque[str] = field(default_factory=lambda: deque(maxlen=EXAMPLES))
    to_ack: Latencies = field(default_factory=Latencies)
    to_reader: Latencies = field(default_factory=Latencies)
    to_return: Latencies = field(default_factory=Latencies)

    def note(self, problem: str) -> None:
        """Count a problem."""
        self.problems[problem if problem in self.problems or len(self.problems) < PROBLEMS else "others"] += 1

    def add(self, other: Self) -> None:
        """Add another process's."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, int):
                setattr(self, each.name, mine + theirs)
            elif isinstance(mine, Tally):
                mine.add(theirs)
            elif isinstance(mine, Latencies):
                mine.merge(theirs)
            elif isinstance(mine, Counter):
                mine.update(theirs)
            else:
                mine.extend(theirs)

    def to_json(self) -> Json:
        """As the processes hand it on."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {
            "tally": asdict(self.tally),
            "problems": dict(self.problems),
            "examples": list(self.examples),
            "to_ack": self.to_ack.counts,
            "to_reader": self.to_reader.counts,
            "to_return": self.to_return.counts,
        }

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """What `to_json` gave."""
        return cls(
            **values
            | {
                "tally": Tally(**values["tally"]),
                "problems": Counter(values["problems"]),
                "examples": deque(values["examples"], EXAMPLES),
                "to_ack": Latencies(values["to_ack"]),
                "to_reader": Latencies(values["to_reader"]),
                "to_return": Latencies(values["to_return"]),
            }
        )
