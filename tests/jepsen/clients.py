"""The clients of a run: authors, readers and pagers, each with one connection at a time to one of the replicas.

Every client draws from a `Random` of its own, so that a seed repeats its decisions.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.harness.tokens import token
from tests.harness.waiting import pause
from tests.jepsen.history import History, Json, compact, message
from tests.jepsen.line import Line, Lost

DAYS_S = 24 * 3600
GRANTS = {"room:*": ["join", "send"]}
MODERATOR_GRANTS = {"room:*": ["join", "send", "moderate"]}

EDITS, DELETES = 0.15, 0.12
"""Shares of an author's commands; the others are new messages."""

HOPS = 0.04
"""The share of commands after which a client goes to another replica."""

RECENT = 40
"""An author edits and deletes one of so many last messages."""

MOST_AT_ONCE = 24
"""Messages in a burst, at most."""

AWAY_S = (0.05, 0.4)
"""Before a client that lost its connection dials again."""

REFUSED_S = 0.1
"""Before a command that was refused for now is repeated."""

PAGE = 100

BESIDE_MESSAGES = frozenset(("reaction:changed", "event:published"))
"""The log events of no message."""


@dataclass(slots=True)
class Scene:
    """What all clients of a run share. `over` ends their work, `done` their connections.

    `vanishes` is the share of new messages whose author does not wait for the answer.
    """

    history: History
    ports: Callable[[], Sequence[int]]
    channels: Sequence[str]
    seed: int
    vanishes: float
    messages: list[tuple[str, str]] = field(default_factory=list)  # channel and id of those that were acked
    over: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Client(ABC):
    """The base: connects, asks, and hops."""

    def __init__(self, scene: Scene, name: str, grants: dict[str, list[str]] | None = None) -> None:
        self.name = name
        self.scene = scene
        self.random = Random(f"{scene.seed} {name}")
        self.line: Line | None = None
        # Valid by any clock that a run gives a replica.
        lifetime = {"ttl_s": 200 * DAYS_S, "iat": 1_700_000_000}
        self._token = token(name, grants or GRANTS, **lifetime)

    @abstractmethod
    async def run(self) -> None:
        """Work until the scene is over."""

    def resume(self) -> Json:
        """Return the positions to connect with, and note that they are asked for."""
        return {}

    def heard(self, name: str, data: Json) -> None:
        """Take what was told unasked; most clients have no use for it."""
        del name, data

    async def connected(self) -> Line:
        """Return the connection, a new one if it was lost. Raises `Lost` if the scene is done before."""
        while self.line is None or self.line.over.is_set():
            if self.scene.done.is_set():
                raise Lost("the scene is done")
            try:
                port = self.random.choice(self.scene.ports())
                self.line = await Line.dial(port, self._token, self.heard, self.resume())
            except Lost:
                self.line = None
                await pause(self.scene.done, self.random.uniform(*AWAY_S))
        return self.line

    async def vanish(self) -> None:
        """Cut the connection."""
        if self.line is not None:
            await self.line.vanish()
            self.line = None

    async def ask(
        self, name: str, command: str, payload: Json, ok: Callable[[Json], Json], noted: Json | None = None
    ) -> Json | None:
        """Run a command, and note it and its end as an operation; return the ack, None if there was none."""
        try:
            line = await self.connected()
        except Lost:
            return None
        op = self.scene.history.invoke(self.name, name, noted or payload)
        try:
            ack = await line.ask(command, payload, lambda ack: self._ended(name, op, ack, ok))
        except Lost as problem:
            self.scene.history.end(self.name, "info", name, op, {"error": str(problem)})
            return None
        return ack

    def _ended(self, name: str, op: int, ack: Json, ok: Callable[[Json], Json]) -> None:
        if ack["ok"]:
            self.scene.history.end(self.name, "ok", name, op, ok(ack))
        else:
            kind: Any = "info" if ack["error"]["retryable"] else "fail"
            self.scene.history.end(self.name, kind, name, op, {"error": ack["error"]["code"]})


class Author(Client):
    """Sends messages under keys, and repeats each until it is acked; edits and deletes its own.

    A moderator deletes others' messages too. `owed` is the key of the message that is not acked yet.
    """

    def __init__(self, scene: Scene, name: str, *, moderates: bool = False, pace_s: float = 0.06) -> None:
        super().__init__(scene, name, MODERATOR_GRANTS if moderates else None)
        self.owed: str | None = None
        self._moderates, self._pace_s = moderates, pace_s
        self._mine: list[tuple[str, str]] = []
        self._number = 0

    async def run(self) -> None:
        """Write until the scene is over, then finish the message that is under way."""
        while not await pause(self.scene.over, self.random.uniform(0.2, 1.8) * self._pace_s):
            draw = self.random.random()
            if draw < EDITS and self._mine:
                await self._edit(*self.random.choice(self._mine[-RECENT:]))
            elif draw < EDITS + DELETES and self._mine:
                await self._delete()
            else:
                await self._send()
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()

    async def _send(self) -> None:
        self._number += 1
        channel, key = self.random.choice(self.scene.channels), f"{self.name}-{self._number}"
        payload = {"channel": channel, "key": key, "text": f"{key} says {self.random.getrandbits(32):08x}"}
        self.owed = key
        while not self.scene.done.is_set():
            ack = await self._attempt(payload)
            if ack is not None and ack["ok"]:
                self._mine.append((channel, ack["message"]["id"]))
                self.scene.messages.append((channel, ack["message"]["id"]))
                self.owed = None
                return
            if ack is not None and not ack["error"]["retryable"]:
                self.owed = None
                return
            await pause(self.scene.done, self.random.uniform(0.5, 1.5) * REFUSED_S)

    async def _attempt(self, payload: Json) -> Json | None:
        asking = asyncio.ensure_future(
            self.ask("send", "message:send", payload, _sent, {**payload, "author": self.name})
        )
        if self.random.random() < self.scene.vanishes:
            await asyncio.wait((asking,), timeout=self.random.uniform(0, 0.01))
            await self.vanish()
        return await asking

    async def _edit(self, channel: str, id: str) -> None:
        self._number += 1
        text = f"{self.name}-{self._number} corrects {self.random.getrandbits(32):08x}"
        await self.ask("edit", "message:edit", {"channel": channel, "id": id, "text": text}, _placed)

    async def _delete(self) -> None:
        messages = self.scene.messages if self._moderates else self._mine
        channel, id = self.random.choice(messages[-RECENT:])
        await self.ask("delete", "message:delete", {"channel": channel, "id": id}, _placed)


class Streamer(Client):
    """Sends bursts of messages without waiting for answers, and then repeats in their order all that were not acked,
    until none is left."""

    def __init__(self, scene: Scene, name: str, *, pace_s: float = 0.5) -> None:
        super().__init__(scene, name)
        self._pace_s = pace_s
        self._number = 0

    async def run(self) -> None:
        """Write until the scene is over, then finish the burst that is under way."""
        while not await pause(self.scene.over, self.random.uniform(0.2, 1.8) * self._pace_s):
            owed: Sequence[Json] = [self._message() for _ in range(self.random.randint(2, MOST_AT_ONCE))]
            while owed and not self.scene.done.is_set():
                owed = await self._burst(owed)
                await pause(self.scene.done, self.random.uniform(0.5, 1.5) * REFUSED_S * bool(owed))
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()

    def _message(self) -> Json:
        self._number += 1
        key = f"{self.name}-{self._number}"
        text = f"{key} says {self.random.getrandbits(32):08x}"
        return {"channel": self.random.choice(self.scene.channels), "key": key, "text": text}

    async def _burst(self, messages: Sequence[Json]) -> Sequence[Json]:
        """Send messages on one connection; return those that are to be sent again."""
        try:
            line = await self.connected()
        except Lost:
            return messages
        async with line.one_piece():
            asking = [asyncio.ensure_future(self._asked(line, payload)) for payload in messages]
        if self.random.random() < self.scene.vanishes:
            await asyncio.wait(asking, timeout=self.random.uniform(0, 0.01))
            await self.vanish()
        answers = await asyncio.gather(*asking)
        return [payload for payload, again in zip(messages, answers, strict=True) if again]

    async def _asked(self, line: Line, payload: Json) -> bool:
        """Send a message; say whether it is to be sent again. It is in the connection before this first waits."""
        op = self.scene.history.invoke(self.name, "send", {**payload, "author": self.name})
        try:
            ack = await line.ask("message:send", payload, lambda ack: self._ended("send", op, ack, _sent))
        except Lost as problem:
            self.scene.history.end(self.name, "info", "send", op, {"error": str(problem)})
            return True
        return not ack["ok"] and bool(ack["error"]["retryable"])


class Reader(Client):
    """Reads all channels; comes back with its positions. `stays_s` is how long it stays by its own will."""

    def __init__(self, scene: Scene, name: str, stays_s: tuple[float, float] | None = None) -> None:
        super().__init__(scene, name)
        self.positions: dict[str, Json] = {}
        self._stays_s = stays_s
        self._resuming: dict[str, int] = {}  # operations that CONNECT began, by channel
        self._absent: set[str] = set()  # channels that it has to join
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Read until the scene is done."""
        while not self.scene.done.is_set():
            stay_s = None if self._stays_s is None else self.random.uniform(*self._stays_s)
            try:
                await self._stay(await self.connected(), stay_s)
            except Lost:
                continue
            await self.vanish()
            self._end_resuming()
            await pause(self.scene.done, self.random.uniform(*AWAY_S))

    async def _stay(self, line: Line, stay_s: float | None) -> None:
        """Join what is to be joined, until the connection ends, the scene is done, or the time is up."""
        self._absent.update(set(self.scene.channels) - set(self.positions))
        deadline = asyncio.get_running_loop().time() + (stay_s or 3_600)
        while not line.over.is_set() and not self.scene.done.is_set():
            for channel in sorted(self._absent):
                if line.over.is_set():  # the next connection resumes, and a join would ask for the same again
                    return
                await self._join(channel)
            self._changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 and not self.scene.over.is_set():
                return
            waits = [asyncio.ensure_future(each.wait()) for each in (line.over, self.scene.done, self._changed)]
            timeout = REFUSED_S if self._absent else max(left, REFUSED_S)
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _join(self, channel: str) -> None:
        with contextlib.suppress(Lost):
            await self.connected()  # which resumes: then there may be nothing to join, and the position is another
        if channel not in self._absent:
            return
        since = self.positions.get(channel)
        payload = {"channel": channel} | ({} if since is None else {"since": since})

        def joined(ack: Json) -> Json:
            self._absent.discard(channel)
            return self._adopt(ack)

        await self.ask("join", "channel:join", payload, joined)

    def resume(self) -> Json:
        """Ask for every channel that it has a position in."""
        self._end_resuming()
        self._absent.clear()
        self._resuming = {
            channel: self.scene.history.invoke(self.name, "join", {"channel": channel, "since": since})
            for channel, since in self.positions.items()
        }
        return dict(self.positions)

    def heard(self, name: str, data: Json) -> None:
        """Note an event, the end of a resume, or a reset."""
        if name.startswith("message:") or (name in BESIDE_MESSAGES and "offset" in data):
            event = compact(name, data)
            self.positions[event["channel"]] = {"epoch": event["epoch"], "offset": event["offset"]}
            self.scene.history.told(self.name, "event", event)
        elif name == "channel:resumed":
            op = self._resuming.pop(data["channel"], 0)
            self.scene.history.end(self.name, "ok", "join" if op else "reset", op, self._adopt(data))
        elif name == "channel:removed":
            self._absent.add(data["channel"])
            op = self._resuming.pop(data["channel"], 0)
            self.scene.history.end(self.name, "info", "join" if op else "removed", op, data)
        self._changed.set()

    def _adopt(self, reply: Json) -> Json:
        self.positions[reply["channel"]] = {"epoch": reply["epoch"], "offset": reply["offset"]}
        told = {part: reply.get(part) for part in ("channel", "epoch", "offset", "recovered", "reason")}
        return told | {"events": [compact(event["event"], event) for event in reply["events"]]}

    def _end_resuming(self) -> None:
        for channel, op in self._resuming.items():
            self.scene.history.end(self.name, "info", "join", op, {"channel": channel, "error": "the connection ended"})
        self._resuming = {}


class Pager(Client):
    """Reads pages of the history; at the end, as the auditor, all of it."""

    async def run(self) -> None:
        """Read pages until the scene is over."""
        while not await pause(self.scene.over, self.random.uniform(0.1, 0.4)):
            channel = self.random.choice(self.scene.channels)
            ack = await self.page(channel, None)
            if ack is not None and ack["ok"] and ack["offset"] > 1 and self.random.random() < 0.5:
                await self.page(channel, self.random.randint(2, ack["offset"]))
            if self.random.random() < HOPS:
                await self.vanish()
        await self.vanish()

    async def page(self, channel: str, before: int | None) -> Json | None:
        """Read one page."""
        payload = {"channel": channel, "limit": PAGE} | ({} if before is None else {"before": before})

        def read(ack: Json) -> Json:
            messages = [{"offset": each["offset"], **message(each)} for each in ack["messages"]]
            return {
                "channel": channel,
                **{part: ack[part] for part in ("epoch", "offset", "more")},
                "messages": messages,
            }

        return await self.ask("history", "history:read", payload, read)

    async def audit(self, channel: str) -> Json:
        """Read all of a channel, from its end to its beginning, and return its last page.

        Each page is noted as an operation; the whole, too. Nobody may write meanwhile.
        """
        pages: list[Json] = []
        before = None
        while not pages or pages[-1]["more"]:
            ack = await self.page(channel, before)
            if ack is None or not ack["ok"]:
                await pause(asyncio.Event(), REFUSED_S)
                continue
            pages.append(ack)
            before = ack["messages"][0]["offset"] if ack["messages"] else None
        found = [{"offset": each["offset"], **message(each)} for page in pages for each in page["messages"]]
        head = {"channel": channel, "epoch": pages[0]["epoch"], "offset": pages[0]["offset"]}
        self.scene.history.told(self.name, "log", head | {"messages": found})
        return head


def _sent(ack: Json) -> Json:
    return {part: ack[part] for part in ("epoch", "offset", "duplicate")} | message(ack["message"])


def _placed(ack: Json) -> Json:
    return {part: ack[part] for part in ("epoch", "offset")}
