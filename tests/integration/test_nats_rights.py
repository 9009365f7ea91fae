"""The rights that docs/engines/nats.md gives Maru's user are enough for all that replicas do."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import SecretStr
from structlog.testing import capture_logs

from server.adapters.nats.shared_secret import SECRET_BYTES
from server.bootstrap.stores.nats import open_stores
from server.bootstrap.stores.record import Stores
from server.domain.channels import ChannelName
from server.domain.control import Resync, SessionsEnded
from server.domain.identity import UserId
from server.domain.presence import RosterChanged
from server.domain.replicas import ReplicaState
from server.settings.model import Settings
from tests.doubles.samples import new_message
from tests.harness.nats import NatsProcess
from tests.harness.server import ROOT, SECRET

ROOM, ANNA = ChannelName("room:1.a"), UserId("anna")

CONFIGURATION = """
authorization {{
  users = [{{ user: maru, password: secret, permissions: {{ publish: {publish}, subscribe: {subscribe} }} }}]
}}
"""


def rights() -> dict[str, str]:
    """The rights of the page."""
    page = (ROOT / "docs/engines/nats.md").read_text("utf-8")
    found = dict(re.findall(r"^(publish|subscribe): +(\[.+\])$", page, re.MULTILINE))
    assert set(found) == {"publish", "subscribe"}
    return found


async def test_the_rights_are_enough(tmp_path: Path) -> None:
    """Messages, marks, follows, hints, orders, leases, rosters, revocations; and nothing is refused."""
    text = CONFIGURATION.format(**rights())
    async with NatsProcess(tmp_path, login="maru:secret", configuration=text) as server, AsyncExitStack() as stack:
        with capture_logs() as lines:
            settings = Settings(_env_file=None, jwt_secret=SecretStr(SECRET), nats_url=SecretStr(server.url))
            stores = await open_stores(settings, stack)
            working = [asyncio.create_task(loop) for loop in stores.bus.loops]
            async with asyncio.timeout(10):
                await _use_log(stores)
                await _use_bus(stores)
            for each in working:
                each.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        assert [line for line in lines if line["event"] == "nats.refused"] == []


async def _use_log(stores: Stores) -> None:
    """Write, read, mark, follow, erase."""
    broadcast, heard = stores.bus.broadcast, stores.bus.broadcast.listen()
    await broadcast.subscribe(ROOM)
    appended = await stores.log.append(new_message(1, ROOM))
    await broadcast.publish(appended.event)
    while await anext(heard) != appended.event:
        pass
    assert (await stores.log.read(ROOM, 0, 10)).events == [appended.event]
    assert (await stores.marks.mark(ROOM, ANNA, 1)).moved
    assert await stores.follows.follow(ANNA, ROOM)
    assert await stores.erasures.channels(ANNA, None) == ([ROOM], None)
    assert (await stores.revocations.load()).denials == []
    assert len(await stores.secret()) == SECRET_BYTES


async def _use_bus(stores: Stores) -> None:
    """Order, live, be present."""
    bus = stores.bus
    orders, changes = bus.control.listen(), bus.presence.listen()
    assert await anext(orders) == Resync()
    await bus.control.append(SessionsEnded(ANNA, reconnect=False))
    assert await anext(orders) == SessionsEnded(ANNA, reconnect=False)
    await bus.replicas.renew(ReplicaState.SERVING, {})
    assert len(await bus.replicas.living()) == 1
    await bus.presence.enter(ROOM, {ANNA: None})
    while not isinstance(await anext(changes), RosterChanged):
        pass
    assert len(await bus.online.count({ANNA: 1})) == 1
