"""Counting: each call moves its own series, whatever its values."""

import math
from collections.abc import Callable
from typing import get_args

import pytest

from server.adapters.prometheus.counters import BOUNDS_S, CODES, EVENTS, Counters
from server.domain.errors import TABLE
from server.domain.events import EventPublished, MessageChange, MessageDeleted, MessageEdited, ReactionChanged, erased
from server.domain.outcomes import CloseReason, DrainEnd, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.wire import messages
from server.wire.words import Command
from tests.doubles.metrics import ScrapedCounters
from tests.doubles.samples import ROOM, event, published, reacted
from tests.harness.scrape import own


def test_each_call_moves_its_own_series_and_no_other(scraped: ScrapedCounters) -> None:
    """One call, one more in one place; of `closed`, slow closes too."""
    counters = scraped.counters
    moved: dict[Callable[[], None], str] = {
        counters.opened: "maru_connections_opened_total",
        lambda: counters.closed(CloseReason.PING_TIMEOUT): 'maru_connections_closed_total{reason="ping_timeout"}',
        lambda: counters.refused(Refusal.TOKEN_IN_QUERY): 'maru_admission_refusals_total{reason="token_in_query"}',
        lambda: counters.session_ended("token_revoked"): 'maru_sessions_ended_total{cause="token_revoked"}',
        lambda: counters.swallowed("typing:start"): 'maru_swallowed_total{command="typing:start"}',
        lambda: counters.ephemeral_dropped(1): "maru_ephemeral_dropped_total",
        lambda: counters.ordered(event(1)): 'maru_events_total{event="message:created"}',
        lambda: counters.ordered(reacted(2)): 'maru_events_total{event="reaction:changed"}',
        lambda: counters.ordered(published(3)): 'maru_events_total{event="event:published"}',
        counters.gap_healed: "maru_gaps_healed_total",
        counters.quarantined: "maru_channel_faults_total",
        counters.duplicate_dropped: "maru_duplicates_dropped_total",
        lambda: counters.resumed(None): 'maru_resumes_total{result="recovered"}',
        lambda: counters.resumed(NotResumable.EXPIRED): 'maru_resumes_total{result="expired"}',
        lambda: counters.replayed(ReplaySource.RING): 'maru_replays_total{source="ring"}',
        lambda: counters.replayed(ReplaySource.LOG): 'maru_replays_total{source="log"}',
        counters.drain_notified: "maru_drain_notified_total",
        lambda: counters.drain_closed(DrainEnd.ABORTED): 'maru_drain_closed_total{how="aborted"}',
    }
    for call, name in moved.items():
        before = own(scraped.samples())
        call()
        after = own(scraped.samples())
        assert {key for key in after if after[key] != before[key]} == {name}
        assert after[name] == before[name] + 1


@pytest.mark.parametrize("reason", [CloseReason.SLOW_READER, CloseReason.MEMORY_CAP])
def test_both_ways_to_be_too_slow_are_slow_closes(scraped: ScrapedCounters, reason: CloseReason) -> None:
    """Over the connection's bound, or the fattest over the process's."""
    scraped.counters.closed(reason)
    assert scraped["maru_slow_closes_total"] == 1
    assert scraped[f'maru_connections_closed_total{{reason="{reason}"}}'] == 1


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
    scraped: ScrapedCounters, told: tuple[str, str], shown: tuple[str, str]
) -> None:
    """Whatever a client calls it; and the time it took goes into the histogram."""
    series = len(scraped.samples())
    scraped.counters.commanded(*told, 0.02)
    assert scraped[f'maru_commands_total{{code="{shown[1]}",command="{shown[0]}"}}'] == 1
    assert scraped["maru_command_seconds_count"] == 1
    assert len(scraped.samples()) == series


def test_events_are_counted_by_their_names_on_the_wire(scraped: ScrapedCounters) -> None:
    """Each kind of event that there is has one, the one that clients see."""
    first = event(1)
    gone = MessageDeleted(ROOM, "one", 2, 2, first.message.id)
    edited = MessageEdited(ROOM, "one", 3, 3, first.message)
    for one in (first, gone, edited, reacted(4), published(5)):
        scraped.counters.ordered(one)
        assert EVENTS[type(one)] == messages.encode(one).name
        assert scraped[f'maru_events_total{{event="{EVENTS[type(one)]}"}}'] == 1
    assert set(EVENTS) == {*get_args(MessageChange), ReactionChanged, EventPublished}
    for erased_event, name in ((erased(first), "message:created"), (erased(edited), "message:edited")):
        scraped.counters.ordered(erased_event)
        assert scraped[f'maru_events_total{{event="{name}"}}'] == 2


# Times


@pytest.mark.parametrize("seconds", [0.0, -3.0, math.nan, math.inf, -math.inf])
def test_what_is_no_time_is_zero(scraped: ScrapedCounters, seconds: float) -> None:
    """Clocks of two machines differ; a sum that is no number would stay none."""
    scraped.counters.published_to_written(seconds)
    scraped.counters.published_to_written(0.004)
    samples = scraped.samples()
    assert samples["maru_publish_to_write_seconds_sum"] == pytest.approx(0.004)
    assert samples["maru_publish_to_write_seconds_count"] == 2
    assert samples['maru_publish_to_write_seconds_bucket{le="0.0005"}'] == 1


@pytest.mark.parametrize(
    ("name", "tell"),
    [
        ("maru_publish_to_write_seconds", Counters.published_to_written),
        ("maru_log_append_seconds", Counters.appended),
        ("maru_loop_lag_seconds", Counters.loop_lagged),
        ("maru_command_seconds", lambda counters, seconds: counters.commanded("message:send", "ok", seconds)),
    ],
)
def test_buckets_hold_what_is_at_most_their_bound(scraped: ScrapedCounters, name: str, tell: object) -> None:
    """Cumulated; the last holds everything."""
    assert callable(tell)
    for seconds in (0.0001, 0.05, 0.0501, 2.0, 31.0):
        tell(scraped.counters, seconds)
    samples = scraped.samples()
    filled = [samples[f'{name}_bucket{{le="{bound}"}}'] for bound in (*BOUNDS_S, "+Inf")]
    assert filled == [1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5]
    assert samples[f"{name}_count"] == 5
    assert samples[f"{name}_sum"] == pytest.approx(33.1002)


def test_the_time_of_a_drain_runs_from_its_beginning_to_its_end(scraped: ScrapedCounters) -> None:
    """Zero before; then it grows with each look; afterwards it stands. Saying it twice changes nothing."""
    seen = []
    for active, passes in ((False, 5.0), (True, 2.0), (True, 1.5), (False, 4.0), (False, 1.0)):
        scraped.counters.draining(active)
        scraped.now += passes
        seen.append((scraped["maru_draining"], scraped["maru_drain_seconds"]))
    assert seen == [(0, 0.0), (1, 2.0), (1, 3.5), (0, 3.5), (0, 3.5)]


def test_every_series_is_there_from_the_start(scraped: ScrapedCounters) -> None:
    """What a call can move stands at zero before: a first error is a rise that an alert can see."""
    before = set(scraped.samples())
    for reason in CloseReason:
        scraped.counters.closed(reason)
    for refusal in Refusal:
        scraped.counters.refused(refusal)
    for end in DrainEnd:
        scraped.counters.drain_closed(end, 3)
    for reason in (None, *NotResumable):
        scraped.counters.resumed(reason)
    for command in (*Command, "anything"):
        for code in ("ok", *(error.code for error in TABLE)):
            assert code in CODES
            scraped.counters.commanded(command, code, 0.1)
    assert set(scraped.samples()) == before
