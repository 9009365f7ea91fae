"""A backend that hangs harms the channels that ask it, and nobody else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

import pytest

from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.hook_backend import HookBackend
from tests.harness.scrape import read, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause, polled

pytestmark = pytest.mark.alone

ENV = {"MARU_MESSAGE_LOG": "memory", "MARU_CHANNEL_RULES": json.dumps({"room:h:*": {"hooks": ["send"]}})}
SENDERS = 40
SECONDS = 3.0
ANSWER_S = 1.5
"""In which a channel answers whose hook hangs."""

BACK_OFF_S = 0.2
"""As clients do; without it, their number would be the load that is measured."""

NOTICED_S = 0.05
"""By so much the others' p99 may differ, on a machine that does other things, too."""


async def answers(
    server: ServerProcess, channel: str, user: str, seconds: float, after_s: float = 0.0
) -> list[tuple[float, str]]:
    """Begin after a while, and send messages, each when the one before is answered, or a while after a refusal; return
    how long each took, and its outcome."""
    client, found = await RawSocket.chat(server.port, token(user)), []
    await pause(asyncio.Event(), after_s)
    ends_at = time.monotonic() + seconds
    while (began := time.monotonic()) < ends_at:
        answer = await client.ask("message:send", {"channel": channel, "text": "x"})
        found.append((time.monotonic() - began, "ok" if answer["ok"] else answer["error"]["code"]))
        if not answer["ok"]:
            await pause(asyncio.Event(), BACK_OFF_S)
    client.vanish()
    return found


@asynccontextmanager
async def crowd(server: ServerProcess, channel: str) -> AsyncIterator[list[tuple[float, str]]]:
    """Clients that send to a channel, while the body runs and longer; their answers are there behind it."""
    all_answers: list[tuple[float, str]] = []
    tasks = [
        asyncio.create_task(answers(server, channel, f"user-{number}", SECONDS, number / SENDERS))
        for number in range(SENDERS)
    ]
    yield all_answers
    for task in tasks:
        all_answers += await task


def p99(found: list[tuple[float, str]]) -> float:
    """The wait that 99 of 100 do not exceed."""
    return quantiles((seconds for seconds, _ in found), n=100)[98]


async def test_a_hook_that_hangs(tmp_path: Path, figure: Figure) -> None:
    """Its channel answers `unavailable` within 1.5 s, and at once when the circuit is open; the others' p99 is what it
    was; and when the backend answers again, so does the channel."""
    async with HookBackend(tmp_path) as backend, ServerProcess(tmp_path, ENV | backend.env) as server:
        alone = await answers(server, "room:free", "alice", SECONDS)
        async with crowd(server, "room:h:hang:1") as hanging:
            beside = await answers(server, "room:free", "alice", SECONDS)
        worst = max(seconds for seconds, _ in hanging)
        figure(
            f"others' p99: {p99(alone) * 1e3:.1f} ms without, {p99(beside) * 1e3:.1f} ms beside {SENDERS} clients of a "
            f"channel whose hook hangs; that channel's worst answer: {worst:.2f} s"
        )
        assert {code for _, code in beside} == {"ok"}
        assert {code for _, code in hanging} == {"unavailable"}
        assert worst < ANSWER_S
        assert p99(beside) < p99(alone) + NOTICED_S
        numbers = read(await scraped(server.internal_port))
        assert numbers['maru_hook_circuit_open{hook="send"}'] == 1
        assert numbers['maru_hook_asks_total{hook="send",outcome="timed_out"}'] <= SENDERS * 2
        assert len(await server.lines_of("hook.circuit_opened", 1)) == 1

        client = await RawSocket.chat(server.port, token("alice"))

        async def judged() -> bool:
            return bool((await client.ask("message:send", {"channel": "room:h:judge:1", "text": "x"}))["ok"])

        await polled(judged, 10.0, lambda: "the circuit does not close", every_s=0.2)
        assert read(await scraped(server.internal_port))['maru_hook_circuit_open{hook="send"}'] == 0
        client.vanish()
