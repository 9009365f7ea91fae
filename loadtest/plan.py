"""The orders of one process of the swarm, and its counts afterwards."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field, fields
from typing import Self

from loadtest.judge import Tally
from loadtest.latency import Latencies
from loadtest.people import PeopleTally
from loadtest.wire import Json

EXAMPLES = 10
"""Faults that are described; all are counted."""

PROBLEMS = 100
"""Kinds of problems that are counted separately."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The part of one process. `rate` (messages/s), `reconnect` (share of the clients a minute) and `people` (other
    acts a second) are its own part; `first` is the number of its first client, of `everybody` in all processes."""

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
    people: float
    everybody: int
    arrive_s: float
    settle_s: float

    def names(self, number: int) -> list[str]:
        """The channels of a client: neighbours, so that every channel has as many members."""
        return [self.channel((number + each) % self.channels) for each in range(self.joins)]

    def members(self, number: int) -> int:
        """How many clients of all processes are in a channel."""
        return sum(self.channel(number) in self.names(client) for client in range(self.everybody))

    def channel(self, number: int) -> str:
        """A channel's name; no other run has it."""
        return f"{self.prefix}-{self.run}-{number}"


@dataclass(slots=True)
class Counts:
    """The counts of a run, in one process or in all.

    `delivered` counts the log events that reached a member, `replayed` those of them that came by a resume. Messages
    are `withheld` if no client could send them at their time, `refused` if the server took them for wrong, and
    `unanswered` if they were never acked. Clients are `silent` if they gave up a server that sent nothing, and `absent`
    if they were not back at the end. `garbled` counts breaches of the protocol. `problems` counts closes and refusals,
    which a client gets over, by their text.
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
    people: PeopleTally = field(default_factory=PeopleTally)
    problems: Counter[str] = field(default_factory=Counter)
    examples: deque[str] = field(default_factory=lambda: deque(maxlen=EXAMPLES))
    to_ack: Latencies = field(default_factory=Latencies)
    to_reader: Latencies = field(default_factory=Latencies)
    to_return: Latencies = field(default_factory=Latencies)

    def note(self, problem: str) -> None:
        """Count a problem."""
        self.problems[problem if problem in self.problems or len(self.problems) < PROBLEMS else "others"] += 1

    def add(self, other: Self) -> None:
        """Add the counts of another process."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, int):
                setattr(self, each.name, mine + theirs)
            elif isinstance(mine, Tally | PeopleTally):
                mine.add(theirs)
            elif isinstance(mine, Latencies):
                mine.merge(theirs)
            elif isinstance(mine, Counter):
                mine.update(theirs)
            else:
                mine.extend(theirs)

    def to_json(self) -> Json:
        """Return the counts in the form in which processes exchange them."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {
            "tally": asdict(self.tally),
            "people": asdict(self.people),
            "problems": dict(self.problems),
            "examples": list(self.examples),
            "to_ack": self.to_ack.counts,
            "to_reader": self.to_reader.counts,
            "to_return": self.to_return.counts,
        }

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """Read the counts from the form of `to_json`."""
        return cls(
            **values
            | {
                "tally": Tally(**values["tally"]),
                "people": PeopleTally(**values["people"]),
                "problems": Counter(values["problems"]),
                "examples": deque(values["examples"], EXAMPLES),
                "to_ack": Latencies(values["to_ack"]),
                "to_reader": Latencies(values["to_reader"]),
                "to_return": Latencies(values["to_return"]),
            }
        )
