"""What is counted, and what a scrape shows of it."""

import inspect
import math
import subprocess
from collections.abc import Callable
from typing import get_args

import pytest

from server.adapters.prometheus_metrics import BOUNDS_S, CODES, EVENTS, Counts, Exposition
from server.domain.errors import TABLE
from server.domain.events import MessageDeleted, MessageEdited, MessageEvent
from server.domain.outcomes import CloseReason, DrainEnd, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.ports.metrics import SILENT, Metrics, State, Traffic
from server.wire import messages
from server.wire.words import Command
from tests.doubles.samples import ROOM, event
from tests.harness import scrape
from tests.harness.scrape import Samples, own, read

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


class Stand:
    """Counts and their exposition, with a clock and a state of the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.state = State(connections=0, sessions=0, channels_hosted=0, link_up=True, link_losses=0)
        self.traffic = Traffic()
        self.counts = Counts(tuple(Command), lambda: self.now)
        self.exposition = Exposition(self.counts, self.traffic, lambda: self.state, "1.2.3")

    def samples(self) -> Samples:
        """What a scrape shows."""
        return read(self.exposition.render("")[0].decode())

    def __getitem__(self, name: str) -> float:
        return self.samples()[name]


@pytest.fixture
def stand() -> Stand:
    """A replica that nothing has happened to."""
    return Stand()


# Counting


def test_each_call_moves_its_own_series_and_no_other(stand: Stand) -> None:
    """One call, one more in one place; of `closed`, slow closes too."""
    counts = stand.counts
    moved: dict[Callable[[], None], str] = {
        counts.opened: "maru_connections_opened_total",
        lambda: counts.closed(CloseReason.PING_TIMEOUT): 'maru_connections_closed_total{reason="ping_timeout"}',
        lambda: counts.refused(Refusal.TOKEN_IN_QUERY): 'maru_admission_refusals_total{reason="token_in_query"}',
        lambda: counts.ephemeral_dropped(1): "maru_ephemeral_dropped_total",
        lambda: counts.ordered(event(1)): 'maru_events_total{event="message:created"}',
        counts.gap_healed: "maru_gaps_healed_total",
        counts.duplicate_dropped: "maru_duplicates_dropped_total",
        lambda: counts.resumed(None): 'maru_resumes_total{result="recovered"}',
        lambda: counts.resumed(NotResumable.EXPIRED): 'maru_resumes_total{result="expired"}',
        lambda: counts.replayed(ReplaySource.RING): 'maru_replays_total{source="ring"}',
        lambda: counts.replayed(ReplaySource.LOG): 'maru_replays_total{source="log"}',
        counts.drain_notified: "maru_drain_notified_total",
        lambda: counts.drain_closed(DrainEnd.ABORTED): 'maru_drain_closed_total{how="aborted"}',
    }
    for call, name in moved.items():
        before = own(stand.samples())
        call()
        after = own(stand.samples())
        assert {key for key in after if after[key] != before[key]} == {name}
        assert after[name] == before[name] + 1


@pytest.mark.parametrize("reason", [CloseReason.SLOW_READER, CloseReason.MEMORY_CAP])
def test_both_ways_to_be_too_slow_are_slow_closes(stand: Stand, reason: CloseReason) -> None:
    """Over the connection's bound, or the fattest over the process's."""
    stand.counts.closed(reason)
    assert stand["maru_slow_closes_total"] == 1
    assert stand[f'maru_connections_closed_total{{reason="{reason}"}}'] == 1


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (("message:send", "ok"), ("message:send", "ok")),
        (("history:read", "not_found"), ("history:read", "not_found")),
        (("alice's own", "unknown_event"), ("unknown", "unknown_event")),
        (("connect", "bad_request"), ("unknown", "bad_request")),
        (("message:send", "no such code"), ("unknown", "internal")),
    ],
)
def test_a_command_is_counted_by_a_name_of_the_table(
    stand: Stand, told: tuple[str, str], shown: tuple[str, str]
) -> None:
    """Whatever a client calls it; and the time it took goes into the histogram."""
    series = len(stand.samples())
    stand.counts.commanded(*told, 0.02)
    assert stand[f'maru_commands_total{{code="{shown[1]}",command="{shown[0]}"}}'] == 1
    assert stand["maru_command_seconds_count"] == 1
    assert len(stand.samples()) == series


def test_events_are_counted_by_their_names_on_the_wire(stand: Stand) -> None:
    """Each kind of event that there is has one, the one that clients see."""
    first = event(1)
    gone = MessageDeleted(ROOM, "one", 2, 2, first.message.id)
    edited = MessageEdited(ROOM, "one", 3, 3, first.message)
    for one in (first, gone, edited):
        stand.counts.ordered(one)
        assert EVENTS[type(one)] == messages.log_event(one)[0]
        assert stand[f'maru_events_total{{event="{EVENTS[type(one)]}"}}'] == 1
    assert set(EVENTS) == set(get_args(MessageEvent))


# Times


@pytest.mark.parametrize("seconds", [0.0, -3.0, math.nan, math.inf, -math.inf])
def test_what_is_no_time_is_zero(stand: Stand, seconds: float) -> None:
    """Clocks of two machines differ; a sum that is no number would stay none."""
    stand.counts.published_to_written(seconds)
    stand.counts.published_to_written(0.004)
    samples = stand.samples()
    assert samples["maru_publish_to_write_seconds_sum"] == pytest.approx(0.004)
    assert samples["maru_publish_to_write_seconds_count"] == 2
    assert samples['maru_publish_to_write_seconds_bucket{le="0.0005"}'] == 1


@pytest.mark.parametrize(
    ("name", "tell"),
    [
        ("maru_publish_to_write_seconds", Counts.published_to_written),
        ("maru_log_append_seconds", Counts.appended),
        ("maru_loop_lag_seconds", Counts.loop_lagged),
        ("maru_command_seconds", lambda counts, seconds: counts.commanded("message:send", "ok", seconds)),
    ],
)
def test_buckets_hold_what_is_at_most_their_bound(stand: Stand, name: str, tell: object) -> None:
    """Cumulated; the last holds everything."""
    assert callable(tell)
    for seconds in (0.0001, 0.05, 0.0501, 2.0, 31.0):
        tell(stand.counts, seconds)
    samples = stand.samples()
    filled = [samples[f'{name}_bucket{{le="{bound}"}}'] for bound in (*BOUNDS_S, "+Inf")]
    assert filled == [1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5]
    assert samples[f"{name}_count"] == 5
    assert samples[f"{name}_sum"] == pytest.approx(33.1002)


def test_the_time_of_a_drain_runs_from_its_beginning_to_its_end(stand: Stand) -> None:
    """Zero before; then it grows with each look; afterwards it stands. Saying it twice changes nothing."""
    seen = []
    for active, passes in ((False, 5.0), (True, 2.0), (True, 1.5), (False, 4.0), (False, 1.0)):
        stand.counts.draining(active)
        stand.now += passes
        seen.append((stand["maru_draining"], stand["maru_drain_seconds"]))
    assert seen == [(0, 0.0), (1, 2.0), (1, 3.5), (0, 3.5), (0, 3.5)]


# What a scrape shows


def test_state_and_traffic_are_those_of_the_moment(stand: Stand) -> None:
    """They are read when somebody looks."""
    assert stand["maru_connections"] == stand["maru_received_bytes_total"] == 0
    assert stand["maru_broker_link_up"] == 1
    stand.state = State(connections=5, sessions=4, channels_hosted=3, link_up=False, link_losses=2)
    stand.traffic.received_bytes, stand.traffic.sent_bytes = 10, 20
    stand.traffic.deliveries, stand.traffic.outbound_queued_bytes = 30, 40
    shown = stand.samples()
    expected = {
        "maru_connections": 5,
        "maru_sessions": 4,
        "maru_channels_hosted": 3,
        "maru_broker_link_up": 0,
        "maru_broker_link_losses_total": 2,
        "maru_received_bytes_total": 10,
        "maru_sent_bytes_total": 20,
        "maru_deliveries_total": 30,
        "maru_outbound_queued_bytes": 40,
        'maru_build_info{version="1.2.3"}': 1,
    }
    assert shown | expected == shown


def test_every_series_is_there_from_the_start(stand: Stand) -> None:
    """What a call can move stands at zero before: a first error is a rise that an alert can see."""
    before = set(stand.samples())
    for reason in CloseReason:
        stand.counts.closed(reason)
    for refusal in Refusal:
        stand.counts.refused(refusal)
    for end in DrainEnd:
        stand.counts.drain_closed(end, 3)
    for reason in (None, *NotResumable):
        stand.counts.resumed(reason)
    for command in (*Command, "anything"):
        for code in ("ok", *(error.code for error in TABLE)):
            assert code in CODES
            stand.counts.commanded(command, code, 0.1)
    assert set(stand.samples()) == before


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("Application/OpenMetrics-Text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain,application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=evil", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;version=99.0.0;escaping=\x7f,;;==,",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain;version=1.x", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_first_that_is_known(stand: Stand, accept: str, media_type: str) -> None:
    """Whatever else the header says is neither obeyed nor repeated."""
    assert stand.exposition.render(accept)[1] == media_type


def test_both_formats_say_the_same(stand: Stand) -> None:
    """OpenMetrics ends with its mark, names the units, and can be read by its own strict parser."""
    stand.counts.commanded("message:send", "ok", 0.2)
    text, openmetrics = (stand.exposition.render(accept)[0].decode() for accept in ("", OPENMETRICS))
    assert openmetrics.endswith("# EOF\n")
    assert "# UNIT maru_received_bytes bytes" in openmetrics
    assert "# UNIT maru_command_seconds seconds" in openmetrics
    assert own(read(openmetrics, scrape.OPENMETRICS)) == own(read(text))


def test_promtool_has_nothing_to_say(stand: Stand) -> None:
    """Names, units, help: as Prometheus' own linter wants them."""
    found = subprocess.run(
        ["promtool", "check", "metrics"],
        input=stand.exposition.render("")[0],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    assert (found.returncode, found.stdout.decode()) == (0, "")


def test_each_replica_of_a_process_has_a_registry_of_its_own() -> None:
    """Two can live in one process, and nothing else that counts there shows."""
    one, other = Stand(), Stand()
    one.counts.opened()
    assert (one["maru_connections_opened_total"], other["maru_connections_opened_total"]) == (1, 0)


# The port's other promises


def test_the_silent_one_knows_every_call() -> None:
    """Nothing comes of it, and nothing goes wrong."""
    arguments = {
        "reason": CloseReason.REFUSED,
        "command": "x",
        "code": "ok",
        "seconds": 1.0,
        "event": event(1),
        "not_resumable": None,
        "source": ReplaySource.LOG,
        "active": True,
        "how": DrainEnd.LEFT,
    }
    calls = [name for name in vars(Metrics) if not name.startswith("_")]
    assert len(calls) >= 16
    for name in calls:
        call = getattr(SILENT, name)
        given = [arguments[needed] for needed in inspect.signature(call).parameters if needed != "count"]
        assert call(*given) is None
