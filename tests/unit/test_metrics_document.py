"""docs/metrics.md against the code: the same names, types, units, labels and label values."""

import re
from collections.abc import Callable
from functools import cache

import pytest

from server.adapters.prometheus.counters import Counters
from server.adapters.prometheus.exposition import Exposition
from server.adapters.prometheus.presence import PresenceCounters
from server.adapters.prometheus.webhooks import WebhookCounters
from server.domain.hooks import AskOutcome
from server.domain.outcomes import CloseReason, DrainEnd, JwksFetch, KeyOrigin, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.domain.webhooks import Outcome
from server.ports.metrics import Snapshot, Traffic
from server.wire.words import Command
from tests.harness.scrape import OPENMETRICS
from tests.harness.server import ROOT

DOCUMENT = (ROOT / "docs/metrics.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(maru_\w+)` \| (\w+) \| (\w*) ?\| ([^|]*?) ?\| ([^|]+) \|$", DOCUMENT, re.MULTILINE)


@cache
def shown(accept: str = "") -> str:
    """A scrape of a replica that nothing has happened to."""
    snapshot = Snapshot(
        connections=0, sessions=0, channels_hosted=0, link_up=True, link_losses=0, ring_bytes=0, rings_evicted=0
    )
    counters = Counters(tuple(Command), lambda: 0.0)
    more = [WebhookCounters(["crm"]), PresenceCounters()]
    return Exposition(counters, Traffic(), lambda: snapshot, "1", more).render(accept)[0].decode()


def test_the_table_is_the_scrape() -> None:
    """Every metric that is shown is documented with its type, and no other."""
    told = dict(re.findall(r"^# TYPE (maru_\w+) (\w+)$", shown(), re.MULTILINE))
    assert {name: kind for name, kind, *_ in ROWS} == told
    assert len(ROWS) == len(told) >= 35


@pytest.mark.parametrize(("name", "unit", "labels"), [(row[0], row[2], row[3]) for row in ROWS])
def test_labels_and_unit_are_those_of_the_samples(name: str, unit: str, labels: str) -> None:
    """A unit that Prometheus knows as a base unit stands in the name."""
    sample = re.search(rf"^{name}(?:_bucket)?(?:{{(.*?)}})? ", shown(), re.MULTILINE)
    assert sample is not None
    found = set(re.findall(r'(\w+)="', sample[1] or "")) - {"le"}
    assert found == set(re.findall(r"`(\w+)`", labels))
    assert (unit in {"seconds", "bytes"}) == bool(re.search(r"_(seconds|bytes)(_total)?$", name))
    stated = re.findall(rf"^# UNIT {name.removesuffix('_total')} (\w+)$", shown(OPENMETRICS), re.MULTILINE)
    assert stated in ([], [unit])


@pytest.mark.parametrize(
    ("values", "section"),
    [
        (CloseReason, lambda: re.findall(r"^\| `(\w+)` \| [^|]+ \|$", DOCUMENT, re.MULTILINE)),
        (Refusal, lambda: row("maru_admission_refusals_total")),
        (AskOutcome, lambda: row("maru_hook_asks_total")),
        (NotResumable, lambda: row("maru_resumes_total")),
        (ReplaySource, lambda: row("maru_replays_total")),
        (KeyOrigin, lambda: set(row("maru_tokens_verified_total")) & set(KeyOrigin)),
        (JwksFetch, lambda: row("maru_jwks_fetches_total")),
        (Outcome, lambda: row("maru_webhook_attempts_total")),
        (DrainEnd, lambda: row("maru_drain_closed_total")),
    ],
)
def test_each_value_of_a_label_is_explained(values: type[CloseReason], section: Callable[[], list[str]]) -> None:
    """The closed sets, all of them and nothing else."""
    settings = {"MARU_ADMISSION_RATE", "MARU_JWT_JWKS_URL"}
    assert {value.value for value in values} == set(section()) - {"recovered"} - settings


def row(name: str) -> list[str]:
    """What stands in backquotes in the last column of a metric's row."""
    return re.findall(r"`(\w+)`", next(meaning for found, *_, meaning in ROWS if found == name))


def test_the_number_of_series_is_about_what_it_says() -> None:
    """A replica's cost in a Prometheus server; a new label that multiplies it does not slip in."""
    said = re.search(r"about (\d+) series", DOCUMENT)
    assert said is not None
    series = [line for line in shown().splitlines() if not line.startswith("#")]
    assert len(series) == pytest.approx(int(said[1]), rel=0.1)
