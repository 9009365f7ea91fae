"""The result of a swarm's run: a line that begins with PASS or FAIL, and the same as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from loadtest.judge import Tally
from loadtest.latency import Latencies
from loadtest.plan import Counts

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class Report:
    """A run of `clients`, which took `arriving_s` to connect. `failures` say why there is no result at all."""

    clients: int
    counts: Counts
    arriving_s: float = 0.0
    failures: tuple[str, ...] = ()

    def reasons(self) -> list[str]:
        """Return the reasons for a FAIL; none means PASS."""
        counts, tally = self.counts, self.counts.tally
        broken = {
            "events were lost": tally.lost,
            "events came twice, or messages stand in two places": tally.duplicated,
            "events or acks were out of order": tally.disordered,
            "resumes could not be recovered": tally.unrecovered,
            "marks went back, or left something unread": counts.people.marks,
            "rosters did not have all members": counts.people.rosters,
            "messages did not have the reactions that were acked": counts.people.reactions,
            "messages were never acked": counts.unanswered,
            "messages were refused": counts.refused,
            "messages were withheld: nobody could send them at their time": counts.withheld,
            "clients were not back at the end": counts.absent,
            "connections broke the protocol": counts.garbled,
        }
        missing = self.clients - counts.arrived
        if missing and not self.failures:
            broken["clients never came in"] = missing
        return [*self.failures, *(f"{count} {what}" for what, count in broken.items() if count)]

    def line(self) -> str:
        """Return the verdict as a line; times are end to end, from `message:send` to a member, in milliseconds."""
        counts, tally = self.counts, self.counts.tally
        values = {
            "clients": counts.arrived,
            "sent": counts.sent,
            "acked": counts.acked,
            "delivered": counts.delivered,
            "lost": tally.lost,
            "duplicated": tally.duplicated,
            "disordered": tally.disordered,
            "p50": f"{counts.to_reader.percentile(0.5) * 1_000:.1f}ms",
            "p99": f"{counts.to_reader.percentile(0.99) * 1_000:.1f}ms",
            "reconnects": counts.reconnects,
        }
        return " ".join(["FAIL" if self.reasons() else "PASS", *(f"{name}={value}" for name, value in values.items())])

    def to_json(self) -> dict[str, Any]:
        """Return the whole report for programs; times in seconds."""
        counts = self.counts
        plain = {name: value for name, value in counts.to_json().items() if isinstance(value, int)}
        return {
            "verdict": "FAIL" if self.reasons() else "PASS",
            "reasons": self.reasons(),
            "clients": self.clients,
            "arriving_s": round(self.arriving_s, 3),
            **plain,
            **_faults(counts.tally),
            "people": asdict(counts.people),
            "ack_s": _times(counts.to_ack),
            "end_to_end_s": _times(counts.to_reader),
            "return_s": _times(counts.to_return),
            "problems": dict(counts.problems),
            "examples": list(counts.examples),
        }


def _faults(tally: Tally) -> dict[str, int]:
    return asdict(tally)


def _times(latencies: Latencies) -> dict[str, float]:
    times = {name: round(latencies.percentile(share), 6) for name, share in PERCENTILES.items()}
    return {"count": latencies.count, **times}
