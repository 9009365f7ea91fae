"""A client that hangs up during its resume: the work ends with it."""

import pytest

from tests.clients.raw import RawSocket, connect
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNELS = 500


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_is_gone_costs_nothing_more(server: ServerProcess, how: str) -> None:
    """A client that hangs up while its 500 channels are resumed costs the few channels that are being opened."""
    resume = {f"room:{how}-{number}": {"epoch": "0123456789abcdef", "offset": 1} for number in range(CHANNELS)}
    before = (await server.counts())["channels"]
    socket = await RawSocket.open(server.port)
    await socket.say(connect({"token": token(how), "resume": resume}))
    await socket.event("channel:resumed")
    if how == "fin":
        socket.finish()
    else:
        socket.reset()
    await server.settled(connections=0, sessions=0)
    assert (await server.counts())["channels"] - before < CHANNELS
    socket.vanish()
