"""A crowd's Python clients in a process of their own, driven by JSON lines as `crowd.mjs` is."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress

import uvloop

from loadtest.judge import ChannelRecord
from tests.clients.bot import BotMember
from tests.clients.member import Member, enter_all
from tests.clients.talk import Talk
from tests.clients.witness import Json, Witness

ACKED_S = 20.0
"""For the messages that are unanswered when the talk ends."""

UNANSWERED = 1_000
"""A talker talks on while its messages wait for an answer: the client keeps their order."""

Client = Member | BotMember


class Clients:
    """All clients of the process. Each method is one order; its result is the answer."""

    def __init__(self) -> None:
        self._clients: Sequence[Client] = ()
        self._talk = Talk((), 0.0)
        self.resources = AsyncExitStack()

    async def enter(self, order: Json) -> Json:
        """Connect all, some at a time."""
        records: defaultdict[str, ChannelRecord] = defaultdict(ChannelRecord)

        def client(user: str, token: str, channel: str) -> Client:
            if order["kind"] == "bot":
                return BotMember(order["url"], user, token, channel)
            return Member(order["url"], user, token, channel, record=records[channel])

        self._clients = [client(**wanted) for wanted in order["members"]]
        await enter_all(self.resources, self._clients)
        return {}

    async def talk(self, order: Json) -> Json:
        """Let each talker send at its own pace, whether or not its last message is answered."""
        for client in self._clients:
            client.witness.listen()
        talkers = [client for client in self._clients if client.witness.user in order["talkers"]]
        speakers = [lambda _, client=client: _say(client) for client in talkers]
        self._talk = Talk(speakers, order["every_ms"] / 1000, UNANSWERED)
        return {}

    async def hush(self, _: Json) -> Json:
        """End the talk; answer when all messages are answered, or their time is over."""
        for client in self._clients:
            client.witness.silence_ends(for_good=True)
        await self._talk.hush(ACKED_S)
        return {}

    async def report(self, order: Json) -> Json:
        """Report everything about everybody, once all have heard everything, or their time is over."""
        with suppress(TimeoutError):  # a missing event shows in the report
            async with asyncio.timeout(order["within_ms"] / 1000):
                for client in self._clients:
                    await _reached(client.witness, order["heads"][client.witness.channel])
        return {"members": [client.witness.report() for client in self._clients]}

    async def leave(self) -> None:
        """Let everybody go."""
        await self._talk.end()
        await self.resources.aclose()


async def _say(client: Client) -> None:
    key, text = client.witness.message()
    try:
        client.witness.acks[key] = await client.send(key, text)
    except Exception as error:  # noqa: BLE001  # any error stands in the report
        client.witness.failed[str(getattr(error, "code", repr(error)))] += 1


async def _reached(witness: Witness, offset: int) -> None:
    while witness.last < offset:
        witness.heard.clear()
        await witness.heard.wait()


async def _orders() -> AsyncIterator[Json]:
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


async def main() -> None:
    """Obey until the input ends."""
    clients = Clients()
    async for order in _orders():
        answer = await getattr(clients, order["do"])(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await clients.leave()


if __name__ == "__main__":
    uvloop.run(main())
