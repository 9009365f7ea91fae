"""Every metric of a real server, moved by real clients: a scrape, something that happens, another scrape."""

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from loadtest.frames import header
from tests.clients.python import PyClient
from tests.clients.raw import PATH, RawSocket
from tests.harness.scrape import OPENMETRICS, TEXT, own, read, scraped
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token
from tests.harness.watched import WAIT_S, Watched, closed, refusals

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://chat.example.com"

ENV = {
    "MARU_ALLOWED_ORIGINS": ORIGIN,
    "MARU_TOKEN_GRACE": "0s",
    "MARU_JWT_LEEWAY": "0s",
}

STALL_S = 1.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One server for the module; each test counts from its own beginning."""
    async with ServerProcess(tmp_path_factory.mktemp("server"), ENV) as server:
        yield Watched(server)
        assert await server.terminate() == 0
        assert server.faults() == []


def commands(name: str, code: str = "ok") -> str:
    """The series of commands that were answered so."""
    return f'maru_commands_total{{code="{code}",command="{name}"}}'


# The first look


async def test_everything_is_there_before_anything_happens(watched: Watched) -> None:
    """A counter that is missing until its first event hides that event from an alert. All are at zero; the few that
    are not are the process's, its version, its link, its log, and its own lease."""
    shown = own(await watched.now())
    told = {line.split()[2] for line in (await scraped(watched.server.internal_port)).splitlines() if "# TYPE" in line}
    documented = set(re.findall(r"^\| `(maru_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    assert {name for name in told if name.startswith("maru_")} == documented
    moving = {name for name, value in shown.items() if value and "loop_lag" not in name and "build_info" not in name}
    assert moving == {"maru_broker_link_up", "maru_log_bytes", "maru_log_limit_bytes", "maru_replicas"}


async def test_promtool_accepts_a_scrape(watched: Watched) -> None:
    """Prometheus' own linter finds nothing; OpenMetrics is answered to who asks for it, and says the same."""
    text = await scraped(watched.server.internal_port)
    command = ["promtool", "check", "metrics"]
    found = await asyncio.to_thread(
        subprocess.run, command, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert (found.returncode, found.stdout.decode()) == (0, "")
    assert set(read(await scraped(watched.server.internal_port, OPENMETRICS), OPENMETRICS)) == set(read(text, TEXT))


# Messages


async def test_a_conversation_is_counted(watched: Watched) -> None:
    """Connections, commands, events, deliveries, bytes, and how long each part took."""
    await watched.begin()
    alice, bob = await watched.chat("alice"), await watched.chat("bob")
    for client in (alice, bob):
        await client.ask("channel:join", {"channel": "room:talk", "presence": False})
    await watched.shows(maru_connections=2, maru_sessions=2, maru_channels_hosted=1)
    sent = await alice.ask("message:send", {"channel": "room:talk", "text": "x" * 1_000})
    at = {"channel": "room:talk", "id": sent["message"]["id"]}
    await alice.ask("message:edit", at | {"text": "y"})
    await alice.ask("message:delete", at)
    await bob.event("message:deleted")
    await alice.ask("message:edit", at | {"text": "z"})
    await alice.ask("no such:command", {"channel": "room:talk"})
    growth = await watched.grown(
        {
            "maru_connections_opened_total": 2,
            commands("channel:join"): 2,
            commands("message:send"): 1,
            commands("message:edit"): 1,
            commands("message:edit", "conflict"): 1,
            commands("message:delete"): 1,
            commands("unknown", "unknown_event"): 1,
            'maru_events_total{event="message:created"}': 1,
            'maru_events_total{event="message:edited"}': 1,
            'maru_events_total{event="message:deleted"}': 1,
            "maru_deliveries_total": 6,
            "maru_received_bytes_total": 1_500,
            "maru_sent_bytes_total": 4_000,
            "maru_command_seconds_count": 7,
            "maru_log_append_seconds_count": 3,
            "maru_publish_to_write_seconds_count": 3,
        }
    )
    assert growth["maru_deliveries_total"] == 6
    assert growth["maru_log_append_seconds_count"] == growth["maru_publish_to_write_seconds_count"] == 3
    assert 0 < growth["maru_log_append_seconds_sum"] < growth["maru_command_seconds_sum"] < WAIT_S
    assert growth["maru_received_bytes_total"] < 5_000
    assert growth["maru_sent_bytes_total"] < 10_000
    await alice.leave()
    await bob.leave()
    await watched.grown({closed("client_left"): 2})
    await watched.shows(maru_connections=0, maru_sessions=0)


async def test_coming_back_is_counted_by_its_result(watched: Watched) -> None:
    """Recovered from the ring or from the log, or why not."""
    writer = await watched.chat("writer")

    async def send(count: int) -> dict[str, Any]:
        last: dict[str, Any] = {}
        for _ in range(count):
            last = await writer.ask("message:send", {"channel": "room:back", "text": "hi"})
        return {"epoch": last["epoch"], "offset": last["offset"]}

    first = await send(1)
    await writer.ask("channel:join", {"channel": "room:back"})
    last = await send(300)
    await watched.begin()
    ways: dict[str, dict[str, Any]] = {
        "ring": last | {"offset": last["offset"] - 5},
        "log": first,
        "ahead": last | {"offset": last["offset"] + 1},
        "epoch": last | {"epoch": "another"},
    }
    for since in ways.values():
        client = await watched.chat("reader", resume={"room:back": since})
        await client.leave()
    growth = await watched.grown(
        {
            'maru_resumes_total{result="recovered"}': 2,
            'maru_resumes_total{result="ahead_of_log"}': 1,
            'maru_resumes_total{result="epoch_changed"}': 1,
        }
    )
    assert growth['maru_replays_total{source="ring"}'] == 1
    assert growth['maru_replays_total{source="log"}'] == 1
    await writer.leave()


# Ends


async def test_each_end_has_its_reason(watched: Watched) -> None:
    """One count for each connection, under the cause that came first."""
    await watched.begin()
    lost = await watched.chat()
    lost.vanish()
    malformed, big, refused = await watched.open(), await watched.open(), await watched.open()
    await malformed.say("4nonsense")
    await malformed.closed()
    big.push(header(70_000))
    await big.closed()
    await refused.say('40/chat,{"token":"no token"}')
    assert (await refused.text()).startswith("44/chat,")
    await refused.leave()
    expiring = await watched.chat(token=token("alice", ttl_s=2))
    await expiring.event("session:terminated", timeout=WAIT_S)
    await expiring.closed()
    growth = await watched.grown(
        {closed(reason): 1 for reason in ("transport_lost", "malformed", "too_big", "refused", "terminated")}
    )
    assert sum(by for name, by in growth.items() if name.startswith("maru_connections_closed")) == 5
    assert growth["maru_connections_opened_total"] == 5


async def test_those_who_say_nothing_are_counted(tmp_path: Path) -> None:
    """Who answers no ping, and who never says CONNECT."""
    async with ServerProcess(tmp_path, {"MARU_PING_INTERVAL": "1s", "MARU_PING_TIMEOUT": "1s"}) as server:
        watched = Watched(server)
        await watched.begin()
        silent, stranger = await watched.chat(), await watched.open()
        assert (await stranger.closed(timeout=WAIT_S)).code == 1008
        growth = await watched.grown({closed("ping_timeout"): 1, closed("no_connect"): 1})
        assert growth["maru_connections_opened_total"] == 2
        silent.vanish()


async def test_a_slow_reader_is_counted(watched: Watched) -> None:
    """What waits for it shows while it waits; then it is a slow close, and nothing waits."""
    await watched.begin()
    slow, writer = await watched.chat("slow", receive_buffer=4_096), await watched.chat("writer")
    await slow.ask("channel:join", {"channel": "room:slow"})
    most = 0.0
    async with slow.showing_life():
        while not (shown := await watched.now())[closed("slow_reader")]:
            most = max(most, shown["maru_outbound_queued_bytes"])
            sent = await writer.ask("message:send", {"channel": "room:slow", "text": "漢" * 4_000})
            assert sent["offset"] < 500, "it was never closed"
    slow.vanish()
    growth = await watched.grown({"maru_slow_closes_total": 1})
    assert growth[closed("slow_reader")] == 1
    assert 100_000 < most < 2 << 20
    await watched.shows(maru_outbound_queued_bytes=0)
    await writer.leave()


async def test_refused_handshakes_are_counted(watched: Watched) -> None:
    """By their reason; none of them is a connection."""
    await watched.begin()
    assert await watched.refused(PATH, Origin="https://evil.example.com") == 403
    assert await watched.refused("/socket.io/?EIO=4&transport=polling") == 400
    assert await watched.refused(PATH + "&token=secret") == 400
    growth = await watched.grown({refusals(reason): 1 for reason in ("origin", "transport", "token_in_query")})
    assert growth["maru_connections_opened_total"] == 0


async def test_arrivals_over_the_rate_are_counted(tmp_path: Path) -> None:
    """Those that are told to come later."""
    env = {"MARU_ADMISSION_RATE": "1", "MARU_ADMISSION_BURST": "1"}
    async with ServerProcess(tmp_path, env) as server:
        watched = Watched(server)
        await watched.begin()
        first = await watched.open()
        assert await watched.refused(PATH) == 503
        growth = await watched.grown({refusals("rate"): 1})
        assert growth["maru_connections_opened_total"] == 1
        first.vanish()


# The process


async def test_a_loop_that_stands_still_shows(watched: Watched) -> None:
    """Four looks a second; the one that came too late tells by how much."""
    await watched.begin()
    await watched.grown({"maru_loop_lag_seconds_count": 4})
    watched.server.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STALL_S)  # nothing happens in the meantime, which is the point
    watched.server.send_signal(signal.SIGCONT)
    growth = await watched.grown({"maru_loop_lag_seconds_sum": STALL_S - 0.25})
    assert growth['maru_loop_lag_seconds_bucket{le="+Inf"}'] > growth['maru_loop_lag_seconds_bucket{le="1.0"}']


async def test_the_process_is_there(watched: Watched) -> None:
    """Memory, descriptors, CPU, and the garbage collector."""
    shown = await watched.now()
    assert 10 << 20 < shown["maru_process_resident_memory_bytes"] < 1 << 30
    assert shown["maru_process_open_fds"] > 5
    assert shown["maru_process_cpu_seconds_total"] > 0
    assert 'python_gc_collections_total{generation="2"}' in shown


async def test_nobody_is_named(watched: Watched) -> None:
    """No user, channel, session, address or token stands in a scrape; and no series is born by what clients say."""
    before = set(await watched.now())
    secret = token("canary-user", {"room:*": ["join", "send"]})
    async with PyClient(watched.server.url, secret) as client:
        await client.join("room:canary-channel")
        await client.ask("message:send", {"channel": "room:canary-channel", "text": "canary-text"})
        raw = await watched.chat("canary-raw")
        await raw.ask("canary:command", {"channel": "room:canary-channel"})
        shown = await scraped(watched.server.internal_port)
        named = [raw.session, raw.connection, secret, *secret.split("."), "canary", "127.0.0.1"]
        assert [name for name in named if name in shown] == []
        assert set(read(shown)) == before
        await raw.leave()


async def test_only_the_internal_port_tells(watched: Watched) -> None:
    """The public one has no such page."""
    client = await RawSocket.dial(watched.server.port)
    await client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.response())[0] == 404
    client.vanish()
