"""The whole deployment in containers: one server to its clients, while a replica goes and comes back."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
import socketio
from aiohttp import ClientSession, CookieJar

from tests.clients.account import Outgoing
from tests.clients.javascript import BareJsClient
from tests.clients.python import PyClient
from tests.clients.raw import PATH
from tests.compose.conftest import Deployment
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS = 16
"""Strangers, spread by chance: all on one of two replicas once in 30,000 runs."""

RETURN_S = 30.0
"""How long a replica that has come back may wait for clients; nginx's old workers are at their end by then."""

NGINX = "nginx -p /tmp/ -c /etc/maru/nginx.conf -e stderr"
"""As the compose file starts it."""

CANARY = "canary0123456789"


def messages(channel: str, sender: str, count: int) -> list[Outgoing]:
    """Numbered, each with its key."""
    return [Outgoing(channel, f"{sender} {number}", f"{channel}-{sender}-{number}") for number in range(count)]


async def crowd(stack: AsyncExitStack, deployment: Deployment, channel: str) -> list[PyClient]:
    """Members of one channel, on both replicas."""
    members = [PyClient(deployment.url, token(f"member{number}")) for number in range(MEMBERS)]
    for member in members:
        await stack.enter_async_context(member)
        await member.join(channel)
    assert min(await deployment.sessions()) > 0
    return members


def agree(members: Sequence[PyClient], channel: str, sent: Sequence[Outgoing]) -> None:
    """Every member has every message, once, in one order, and nothing that must not happen has."""
    first = [(event["offset"], event["message"]["key"]) for event in members[0].received[channel]]
    assert sorted(key for _, key in first) == sorted(message.key for message in sent)
    for member in members:
        assert member.faults == []
        assert [(event["offset"], event["message"]["key"]) for event in member.received[channel]] == first


async def test_one_order_on_both_replicas(deployment: Deployment) -> None:
    """What clients of both languages send on both replicas at once, all get in one order, without gap or repeat."""
    channel, sent = "room:compose-order", list[Outgoing]()
    async with AsyncExitStack() as stack:
        members = await crowd(stack, deployment, channel)
        guest = await stack.enter_async_context(BareJsClient(deployment.url, token("guest")))
        await guest.join(channel)
        async with asyncio.TaskGroup() as sending:
            for number, member in enumerate(members[:8]):
                batch = messages(channel, f"member{number}", 50)
                sent += batch
                sending.create_task(member.send_all(batch, 8))
            batch = messages(channel, "guest", 50)
            sent += batch
            sending.create_task(guest.burst(batch))
        await asyncio.gather(*(member.heard(channel, len(sent)) for member in members))
        await guest.heard(channel, len(sent))
        agree(members, channel, sent)
        assert [event["offset"] for event in guest.received[channel]] == list(range(1, len(sent) + 1))


async def test_a_users_devices_meet(deployment: Deployment) -> None:
    """Four clients of one user are on one replica after `POST /session`."""
    async with AsyncExitStack() as stack:
        before = await deployment.sessions()
        for _ in range(4):
            http = await stack.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))
            auth = {"Authorization": f"Bearer {token('alice')}"}
            async with http.post(f"{deployment.url}/session", headers=auth) as response:
                assert response.status == 204
            client = socketio.AsyncClient(http_session=http, reconnection=False)
            await client.connect(
                deployment.url, auth={"token": token("alice")}, transports=["websocket"], namespaces=["/chat"]
            )
            stack.push_async_callback(client.disconnect)
        after = await deployment.sessions()
        assert sorted(new - old for old, new in zip(before, after, strict=True)) == [0, 4]


async def test_a_replica_goes_and_comes_back(deployment: Deployment) -> None:
    """While messages are sent, a replica is stopped and started again: nothing acked is missing or repeated, nobody is
    turned away, and the replica takes part again."""
    channel, sent = "room:compose-roll", list[Outgoing]()
    async with AsyncExitStack() as stack:
        members = await crowd(stack, deployment, channel)
        async with asyncio.TaskGroup() as group:
            for number, member in enumerate(members[:4]):
                batch = messages(channel, f"member{number}", 300)
                sent += batch
                group.create_task(member.send_all(batch, 1))
            await members[0].heard(channel, 20)
            await deployment.compose("stop", "app1")
            assert (await deployment.counts("app2"))["status"] == "ready"
        await asyncio.gather(*(member.heard(channel, len(sent)) for member in members))
        agree(members, channel, sent)
        assert (await deployment.counts("app2"))["sessions"] == MEMBERS
        await deployment.compose("start", "app1")
        await deployment.ready()
        # A container that starts again may have another address, and nginx looks the names up when it is told to.
        await deployment.run("nginx", f"{NGINX} -s reload")
        async with asyncio.timeout(RETURN_S):
            while (await deployment.counts("app1"))["sessions"] == 0:
                await stack.enter_async_context(PyClient(deployment.url, token("late")))
        more = [messages(channel, f"late{number}", 5) for number in range(MEMBERS)]
        await asyncio.gather(*(member.send_all(batch, 1) for member, batch in zip(members, more, strict=True)))
        sent += [message for batch in more for message in batch]
        await asyncio.gather(*(member.heard(channel, len(sent)) for member in members))
        agree(members, channel, sent)


async def test_the_containers_are_confined(deployment: Deployment) -> None:
    """The server is nobody in particular, can write nowhere in its image, and calls itself healthy."""
    said = await deployment.run("app2", "id -u; touch /opt/maru/app/x 2>&1; true")
    assert "10001" in said
    assert "Read-only file system" in said
    assert "healthy" in await deployment.run("app2", "python -m server health && echo healthy")


async def test_no_secret_in_any_log(deployment: Deployment) -> None:
    """A token in a URL is refused at the front; neither it nor any other query string is in what the containers log."""
    refused = f"{deployment.url}{PATH}&token={CANARY}"
    for url, status in ((refused, 400), (f"{deployment.url}{PATH}&x={CANARY}", 400)):
        async with deployment.http.get(url) as response:
            assert response.status == status
    said = await deployment.compose("logs")
    assert '"path":"/socket.io/"' in said
    assert CANARY not in said
