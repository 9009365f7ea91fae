"""Clients of a run that do more than talk: they react, mark what they have read, and publish events of applications."""

import asyncio

from tests.harness.waiting import pause
from tests.jepsen.clients import HOPS, REFUSED_S, Client, Scene
from tests.jepsen.history import Json, published
from tests.jepsen.line import Line, Lost

EMOJIS = ("👍", "+1", "🎉")

PUBLISHER_GRANTS = {"room:*": ["join", "publish"]}

RECENT = 12
"""A fan reacts to one of so many last messages: few, so that fans meet."""


class Fan(Client):
    """Reacts to messages, and takes it back. An act begins when the one before is over, so the last answer tells how it
    is."""

    async def run(self) -> None:
        """React until the scene is over."""
        while not await pause(self.scene.over, self.random.uniform(0.02, 0.2)):
            if not self.scene.messages:
                continue
            channel, id = self.random.choice(self.scene.messages[-RECENT:])
            add = self.random.random() < 0.6
            payload = {"channel": channel, "id": id, "emoji": self.random.choice(EMOJIS)}
            noted = payload | {"user": self.name, "add": add}
            await self.ask("react", "reaction:add" if add else "reaction:remove", payload, _settled, noted)
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()


class Marker(Client):
    """Marks what it has read, anywhere up to the end of the log. At the end `look` tells how it stands."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self._joined: tuple[Line | None, set[str]] = (None, set())
        self._heads: dict[str, int] = {}

    async def run(self) -> None:
        """Mark until the scene is over."""
        while not await pause(self.scene.over, self.random.uniform(0.05, 0.3)):
            channel = self.random.choice(self.scene.channels)
            if await self._enter(channel):
                await self._mark("mark", channel, self.random.randint(0, self._heads.get(channel, 0) + 3))
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()

    async def look(self, channel: str) -> None:
        """Note the mark in a channel, and what is unread. Nobody may write meanwhile."""
        ack = None
        while not self.scene.done.is_set() and (ack is None or not ack["ok"]):
            ack = await self._mark("look", channel, 0) if await self._enter(channel) else None
            if ack is None or not ack["ok"]:
                await pause(self.scene.done, REFUSED_S)

    async def _enter(self, channel: str) -> bool:
        """Join a channel on this connection, unless it has; say whether it is in."""
        try:
            line = await self.connected()
        except Lost:
            return False
        if self._joined[0] is not line:
            self._joined = (line, set())
        if channel not in self._joined[1]:
            try:
                ack = await line.ask("channel:join", {"channel": channel})
            except Lost:
                return False
            if not ack["ok"]:
                return False
            self._joined[1].add(channel)
            self._heads[channel] = ack["offset"]
        return True

    async def _mark(self, name: str, channel: str, offset: int) -> Json | None:
        payload = {"channel": channel, "offset": offset}
        ack = await self.ask(name, "read:mark", payload, _marked, payload | {"user": self.name})
        if ack is not None and ack["ok"]:
            self._heads[channel] = ack["offset"] + ack["unread"]
        return ack


class Announcer(Client):
    """Publishes events under keys, and repeats each until it is acked. At the end `audit` reads them all."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name, PUBLISHER_GRANTS)
        self._number = 0

    async def run(self) -> None:
        """Publish until the scene is over, then finish the event that is under way."""
        while not await pause(self.scene.over, self.random.uniform(0.05, 0.3)):
            self._number += 1
            key = f"{self.name}-{self._number}"
            channel, name = self.random.choice(self.scene.channels), self.random.choice(("paid", "sent"))
            data = {"key": key, "drawn": self.random.getrandbits(32)}
            payload = {"channel": channel, "name": name, "data": data, "key": key}
            ack = None
            while not self.scene.done.is_set() and (ack is None or (not ack["ok"] and ack["error"]["retryable"])):
                ack = await self._attempt(payload)
                if ack is None or not ack["ok"]:
                    await pause(self.scene.done, REFUSED_S)
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()

    async def _attempt(self, payload: Json) -> Json | None:
        noted = payload | {"author": self.name}
        asking = asyncio.ensure_future(self.ask("publish", "event:publish", payload, _settled, noted))
        if self.random.random() < self.scene.vanishes:
            await asyncio.wait((asking,), timeout=self.random.uniform(0, 0.01))
            await self.vanish()
        return await asking

    async def audit(self, channel: str) -> None:
        """Note all events of a channel. Nobody may write meanwhile."""
        found: list[Json] = []
        before: int | None = None
        while not self.scene.done.is_set():
            payload = {"channel": channel, "limit": 100} | ({} if before is None else {"before": before})
            ack = await self.ask("records", "events:read", payload, lambda ack: {"count": len(ack["events"])})
            if ack is None or not ack["ok"]:
                await pause(self.scene.done, REFUSED_S)
                continue
            found = [published(each) for each in ack["events"]] + found
            if not ack["more"]:
                head = {"channel": channel, "epoch": ack["epoch"], "offset": ack["offset"]}
                self.scene.history.told(self.name, "record log", head | {"events": found})
                return
            before = found[0]["offset"]


def _settled(ack: Json) -> Json:
    return {part: ack[part] for part in ("epoch", "offset", "duplicate")}


def _marked(ack: Json) -> Json:
    return {"mark": ack["offset"], "unread": ack["unread"], "unread_mentions": ack["unread_mentions"]}
