"""Clients at their limits, and over them, are no burden to others."""

import asyncio
import time

import pytest

from bench.processes import cpu_s
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.conftest import Figure
from tests.harness.tokens import token
from tests.harness.victim import Victim
from tests.harness.waiting import pause
from tests.integration.conftest import Scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]

SERVER_ENV = {
    "MARU_LIMITS": '{"send_user": [1, 5]}',
    "MARU_MESSAGE_LOG": "memory",
    "MARU_LIMIT_TIERS": '{"free": {"session": [0, 0], "send_user": [0, 0]}, "usual": {"send_user": [10, 50]}}',
}

WAIT_S = 0.5
"""The longest wait of a victim (P12)."""

TYPICAL_S = 0.05
"""The wait of a victim in 99 of 100 cases: what the server works for others meanwhile, who come in bursts if the
machine is busy with other things."""

TICK_S = 0.01


def sends(channel: str, count: int) -> bytes:
    """So many sends, in one piece."""
    return masked(event("message:send", {"channel": channel, "text": "x"}, ack=1)) * count


async def crowd(scene: Scene, size: int, tier: str | None) -> list[RawSocket]:
    """Sessions of as many users, in channels of their own."""
    return [await RawSocket.chat(scene.server.port, token(f"user-{number}", tier=tier)) for number in range(size)]


async def keep_sending(clients: list[RawSocket], each: int, seconds: float) -> None:
    """Let each client send so many messages a second in one piece, one client after the other."""
    pieces = [sends(f"room:{number}", each) for number in range(len(clients))]
    began, number = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * len(clients))
        for at in range(number, due):
            clients[at % len(clients)].push(pieces[at % len(clients)])
        number = due
        await pause(asyncio.Event(), TICK_S)


async def test_a_thousand_clients_over_their_limits(scene: Scene, figure: Figure) -> None:
    """Each sends ten messages a second where one is allowed: nobody else notices."""
    alone = Victim(scene.server)
    async with alone.watching():
        await pause(asyncio.Event(), 1.0)
    clients = await crowd(scene, 1_000, None)
    victim, used = Victim(scene.server), cpu_s([scene.server.pid])
    async with victim.watching():
        await keep_sending(clients, 10, 4.0)
    used = cpu_s([scene.server.pid]) - used
    p99, before = victim.typical_send_s * 1e3, alone.typical_send_s * 1e3
    figure(f"p99 of a send {p99:.1f} ms, alone {before:.1f} ms; {victim}; {used:.1f} s of CPU in 4 s")
    assert victim.typical_send_s < TYPICAL_S
    assert victim.worst_s < WAIT_S
    for client in clients:
        client.vanish()
    await scene.clean()


async def test_twenty_users_at_their_limits(scene: Scene, figure: Figure) -> None:
    """As much as the defaults allow, and nothing is refused."""
    clients = await crowd(scene, 20, "usual")
    victim = Victim(scene.server)
    async with victim.watching():
        for number, client in enumerate(clients):
            client.push(sends(f"room:{number}", 40))
        await keep_sending(clients, 10, 2.0)
    figure(str(victim))
    assert victim.worst_s < WAIT_S
    for client in clients:
        assert (await client.ack(1))["ok"]
        client.vanish()
    await scene.clean()
