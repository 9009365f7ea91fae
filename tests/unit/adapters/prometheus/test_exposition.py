"""A scrape: state and traffic of the moment, in the format that the scraper prefers."""

import subprocess

import pytest

from server.ports.metrics import LogSize, Snapshot
from tests.doubles.metrics import ScrapedCounters
from tests.harness import scrape
from tests.harness.scrape import own, read

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


def test_state_and_traffic_are_those_of_the_moment(scraped: ScrapedCounters) -> None:
    """They are read when somebody looks."""
    assert scraped["maru_connections"] == scraped["maru_received_bytes_total"] == 0
    assert scraped["maru_broker_link_up"] == 1
    scraped.snapshot = Snapshot(
        connections=5,
        sessions=4,
        channels_hosted=3,
        link_up=False,
        link_losses=2,
        ring_bytes=50,
        rings_evicted=6,
        trims_refused=7,
        log_lines_dropped=8,
        log_size=LogSize(9, 10, True),
        overload=2,
    )
    scraped.traffic.received_bytes, scraped.traffic.sent_bytes = 10, 20
    scraped.traffic.deliveries, scraped.traffic.outbound_queued_bytes = 30, 40
    scraped.traffic.inbound_queued_bytes = 50
    shown = scraped.samples()
    expected = {
        "maru_connections": 5,
        "maru_sessions": 4,
        "maru_channels_hosted": 3,
        "maru_broker_link_up": 0,
        "maru_broker_link_losses_total": 2,
        "maru_rings_bytes": 50,
        "maru_rings_evicted_total": 6,
        "maru_trims_refused_total": 7,
        "maru_log_lines_dropped_total": 8,
        "maru_log_bytes": 9,
        "maru_log_limit_bytes": 10,
        "maru_log_full": 1,
        "maru_overload_state": 2,
        "maru_received_bytes_total": 10,
        "maru_sent_bytes_total": 20,
        "maru_deliveries_total": 30,
        "maru_outbound_queued_bytes": 40,
        "maru_inbound_queued_bytes": 50,
        'maru_build_info{version="1.2.3"}': 1,
    }
    assert shown | expected == shown


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
def test_the_format_is_the_first_that_is_known(scraped: ScrapedCounters, accept: str, media_type: str) -> None:
    """Whatever else the header says is neither obeyed nor repeated."""
    assert scraped.exposition.render(accept)[1] == media_type


def test_both_formats_say_the_same(scraped: ScrapedCounters) -> None:
    """OpenMetrics ends with its mark, names the units, and can be read by its own strict parser."""
    scraped.counters.commanded("message:send", "ok", 0.2)
    text, openmetrics = (scraped.exposition.render(accept)[0].decode() for accept in ("", OPENMETRICS))
    assert openmetrics.endswith("# EOF\n")
    assert "# UNIT maru_received_bytes bytes" in openmetrics
    assert "# UNIT maru_command_seconds seconds" in openmetrics
    assert own(read(openmetrics, scrape.OPENMETRICS)) == own(read(text))


def test_promtool_has_nothing_to_say(scraped: ScrapedCounters) -> None:
    """Names, units, help: as Prometheus' own linter wants them."""
    found = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scraped.exposition.render("")[0],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    assert (found.returncode, found.stdout.decode()) == (0, "")


def test_each_replica_of_a_process_has_a_registry_of_its_own() -> None:
    """Two can live in one process, and nothing else that counts there shows."""
    one, other = ScrapedCounters(), ScrapedCounters()
    one.counters.opened()
    assert (one["maru_connections_opened_total"], other["maru_connections_opened_total"]) == (1, 0)
