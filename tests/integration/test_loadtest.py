"""The load test programs against a real server: they pass where it is right, and fail where the network is made to
lose, repeat and reorder what it says."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.coordinator import coordinate
from loadtest.frames import Frames, Opcode
from loadtest.swarm import parse, plans
from loadtest.target import CLIENTS_PER_SOURCE
from tests.clients.frames import unmasked
from tests.harness.proxy import Proxy, Relay
from tests.harness.server import ROOT, SECRET, ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN_S = 60.0
"""No run here takes longer, on a busy machine too."""


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    code: int
    out: str
    err: str


@asynccontextmanager
async def running(*arguments: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of this project, with the tests' secret in its environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"MARU_JWT_SECRET": SECRET} | env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with those that it has started
        await process.wait()


async def ended(process: asyncio.subprocess.Process, before: str = "") -> Ended:
    """Wait until it has ended; it never shows a token or the secret."""
    async with asyncio.timeout(RUN_S):
        out, err = await process.communicate()
    result = Ended(process.returncode or 0, out.decode(), before + err.decode())
    assert SECRET not in result.out + result.err
    assert "eyJ" not in result.out + result.err
    return result


async def swarm(url: str, *arguments: str) -> tuple[Ended, dict[str, Any]]:
    """Run the swarm to its end; return that, and its JSON."""
    async with running("loadtest.swarm", "--url", url, "--json", "-", *arguments) as process:
        result = await ended(process)
    return result, report_of(result)


def report_of(result: Ended) -> dict[str, Any]:
    """The JSON, which stands before the verdict."""
    report, verdict = result.out.splitlines()
    parsed: dict[str, Any] = json.loads(report)
    assert verdict.split()[0] == parsed["verdict"], result.err
    return parsed


class Meddling(Relay):
    """Of each six messages, a connection gets one not at all, one twice, and two in the wrong order."""

    def __init__(self) -> None:
        self._head = b""  # of the HTTP answer, which goes through
        self._frames: Frames | None = None
        self._held = b""
        self._seen = 0

    def from_server(self, chunk: bytes) -> bytes:
        """Let the head of the HTTP answer through; then meddle with frames, and leave out control frames."""
        passed = b""
        if self._frames is None:
            head, end, chunk = (self._head + chunk).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return b""
            self._frames, passed = Frames(), head + end
        texts = [payload for opcode, payload in self._frames.feed(chunk) if opcode == Opcode.TEXT]
        return passed + b"".join(unmasked(text) for each in texts for text in self._meddle(each))

    def _meddle(self, text: bytes) -> list[bytes]:
        if not text.startswith(b'42/chat,["message:created"'):
            return [text]
        self._seen += 1
        match self._seen % 6:
            case 2:
                return []
            case 3:
                return [text, text]
            case 4:
                self._held = text
                return []
            case 5:
                return [text, self._held]
            case _:
                return [text]


async def test_a_swarm_finds_no_fault_with_a_right_server(server: ServerProcess) -> None:
    """Two processes of clients, of which many drop out and come back: every acked message reaches every member."""
    options = ["--clients", "60", "--channels", "6", "--joins", "2", "--processes", "2"]
    result, report = await swarm(
        server.url, *options, "--rate", "60", "--seconds", "2", "--reconnect", "10", "--people", "60"
    )
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1].startswith("PASS clients=60 sent=120 acked=120 delivered=")
    assert report["people"]["answers"] > 60 * 2
    assert report["reconnects"] >= 10
    assert report["delivered"] > report["end_to_end_s"]["count"] > 0, "reactions are events, too, and have no time"
    assert 0 < report["end_to_end_s"]["p50"] <= report["end_to_end_s"]["p99"]
    await server.settled(connections=0, sessions=0)


async def test_a_swarm_gets_over_a_killed_server(tmp_path: Path) -> None:
    """`kill -9` and a new process on the same log in the middle of the talk: what was acked is still there for all."""
    async with ServerProcess(tmp_path) as server:
        arguments = [
            "--clients",
            "30",
            "--channels",
            "3",
            "--rate",
            "30",
            "--people",
            "30",
            "--seconds",
            "3",
            "--json",
            "-",
        ]
        async with running("loadtest.swarm", "--url", server.url, *arguments) as process:
            await server.logged(lambda line: line.get("name") == "message:send" and line["offset"] == 5, timeout=RUN_S)
            await server.kill()
            await server.start()
            result = await ended(process)
    report = report_of(result)
    # Nobody is in for a moment, so some messages can't be sent at their time: that alone is no verdict on the server.
    assert [reason for reason in report["reasons"] if "withheld" not in reason] == [], result.err
    assert report["acked"] == report["sent"] > 0
    assert report["reconnects"] == 30
    assert sum(report["problems"].values()) >= 30


async def test_a_swarm_sees_what_goes_wrong(server: ServerProcess) -> None:
    """Through a proxy that loses, repeats and reorders messages it ends with FAIL and 1, and names each fault."""
    async with Proxy(server.port, Meddling) as proxy:
        options = ["--clients", "8", "--channels", "2", "--rate", "24", "--seconds", "2", "--settle", "1"]
        result, report = await swarm(proxy.url, *options)
    assert result.code == 1
    # 8 members hear about 24 messages each, which is 4 times six.
    assert min(report["lost"], report["duplicated"], report["disordered"]) >= 8
    assert len(report["reasons"]) == 3
    assert report["acked"] == report["sent"] == 48
    assert report["examples"]


async def test_a_swarm_without_a_server_ends_and_says_why(server: ServerProcess, tmp_path: Path) -> None:
    """A token that the server refuses is a FAIL at once; too few open files are told before anything begins."""
    tokens = tmp_path / "tokens"
    tokens.write_text("no-token-at-all\n")
    async with running("loadtest.swarm", "--url", server.url, LOADTEST_TOKENS=str(tokens)) as process:
        refused = await ended(process)
    assert refused.code == 1
    assert refused.out.startswith("FAIL clients=0 ")
    assert "unauthenticated" in refused.err
    assert "no-token-at-all" not in refused.out + refused.err
    async with running("loadtest.swarm", "--url", server.url, "--clients", "9999999", "--processes", "1") as process:
        limited = await ended(process)
    assert limited.code == 2
    assert "ulimit" in limited.err


async def test_more_clients_than_ports_come_from_several_addresses(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of those who come from 127.0.0.1 and the first of the others are in one channel, and hear the same."""
    monkeypatch.setenv("MARU_JWT_SECRET", SECRET)
    arguments = ["--url", server.url, "--clients", "10", "--channels", "1", "--rate", "20", "--seconds", "1"]
    (whole,) = plans(parse(arguments), 1)
    said: list[str] = []
    report = await coordinate([replace(whole, first=CLIENTS_PER_SOURCE - 5)], said.append)
    assert report.reasons() == []
    assert report.counts.delivered == 200
    assert said[0].startswith("10 clients in 1 processes came in")
    await server.settled(connections=0)
    remotes = Counter(line["remote"] for line in await server.lines_of("connection.closed", 10))
    assert remotes["127.0.0.2"] == 5


async def locust(folder: Path, files: str, url: str, *arguments: str) -> tuple[Ended, dict[tuple[str, str], Any]]:
    """Run Locust without its page; return how it ended, and its statistics."""
    file = folder / "locust"
    options = ["-f", files, "--host", url, "--headless", "--json-file", str(file)]
    async with running("locust", *options, *arguments) as process:
        result = await ended(process)
    stats = json.loads(file.with_suffix(".json").read_text())
    return result, {(each["method"], each["name"]): each for each in stats}


async def test_locust_finds_no_fault_with_a_right_server(server: ServerProcess, tmp_path: Path) -> None:
    """Chatters, lurkers, readers and phones in two processes, with storms that drop all phones at once: its exit code
    is 0, and its times are measured ones."""
    result, stats = await locust(
        tmp_path,
        "loadtest/locustfile.py,loadtest/locust_shape.py",
        server.url,
        *("-u", "24", "-r", "24", "-t", "4s", "--processes", "2", "--storm-every", "1"),
        *("--channels", "2", "--joins", "2", "--pace", "2", "--mix", "Chatter=1,Lurker=1,Reader=1,Phone=1"),
    )
    assert result.code == 0, result.err + result.out
    assert [key for key, each in stats.items() if each["num_failures"]] == []
    assert stats["CONNECT", "handshake to all channels joined"]["num_requests"] == 24
    assert stats["RESUME", "handshake to back in all channels, with what was missed"]["num_requests"] > 0
    for timed in ("message:send to ack", "message:send to another user", "read:mark"):
        (entry,) = (each for (_, name), each in stats.items() if name == timed)
        assert entry["num_requests"] > (0 if timed == "read:mark" else 10)
        assert entry["total_response_time"] > 0


async def test_locust_fails_where_promises_are_broken(server: ServerProcess, tmp_path: Path) -> None:
    """Its exit code is 1, and the failures are counted under what was promised."""
    async with Proxy(server.port, Meddling) as proxy:
        options = ["-u", "4", "-r", "4", "-t", "3s", "--channels", "1", "--pace", "5", "--settle", "1", "Chatter"]
        result, stats = await locust(tmp_path, "loadtest/locustfile.py", proxy.url, *options)
    assert result.code == 1
    for fault in ("lost", "duplicated", "disordered"):
        assert stats["PROMISE", fault]["num_failures"] > 0
