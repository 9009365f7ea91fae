"""Documents under subjects of a stream, changed by compare-and-set: a document is the last entry of its subject."""

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from nats.aio.msg import Msg

from server.adapters.nats import names
from server.adapters.nats.answers import Refused
from server.adapters.nats.document import Document, milliseconds
from server.adapters.nats.link import ANSWER_S, Link
from server.adapters.nats.stream import STALE, Entries
from server.domain.errors import Unavailable

NEW = 0
"""The place of a document that is not there."""

IDLE_NS = 200_000_000
"""A reader that has got nothing for so long is told that nothing is left."""

EMPTIED_LIMIT = 100_000
"""Entries of emptied documents that a process is to drop."""

EMPTY_S, AT_ONCE = 60.0, 500
"""They are dropped so much later, so that nobody asks for them just then, and so many at once."""

LEFT_NS = 5_000_000_000
"""So long after its reader has gone, the server forgets what it was to send."""

T = TypeVar("T")


class _Turn:
    """The changes of a document that wait for each other."""

    __slots__ = ("__weakref__", "known", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.known: tuple[int, bytes] | None = None  # place and data after the last of them


class Documents(Entries):
    """The documents of a stream `prefix-name`, with the subjects `prefix.name.>`: a subject's parts may be any text.
    With `max_age_s` a document is gone so long after it was written, by the server's clock; with `keeps` the stream is
    a list of so many entries, and no documents. Every method raises `Unavailable` within 2 s."""

    def __init__(
        self,
        link: Link,
        name: str,
        *,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        max_age_s: float = 0,
        keeps: int | None = None,
    ) -> None:
        super().__init__(link, name, prefix, replicas, max_age_s, keeps)
        # When this process has emptied documents, and where: bounded, what is over it stays as an empty entry.
        self.emptied: deque[tuple[float, int]] = deque(maxlen=EMPTIED_LIMIT)
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()  # by subject

    async def get(self, *parts: str) -> Document | None:
        """Return a document."""
        found = await self._last(parts)
        return found if found is not None and found.data else None

    async def _known(self, parts: tuple[str, ...]) -> tuple[int, bytes]:
        found = await self._last(parts)
        return (NEW, b"") if found is None else (found.place, found.data)

    async def _last(self, parts: tuple[str, ...]) -> Document | None:
        """Return the last entry of a subject; one without data says that the document was removed."""
        found = await self.entry({"last_by_subj": self._at(parts)})
        if found is None:
            return None
        return Document(found["seq"], parts, base64.b64decode(found.get("data", "")), milliseconds(found["time"]))

    async def put(
        self, data: bytes, *parts: str, after: int | None = None, last: int | None = None, id: str | None = None
    ) -> int | None:
        """Write a document; with `after`, only if its place is that; with `last`, only if that is the last place of the
        whole stream. Return its new place; None if there was a change meanwhile. With an `id` it is written once,
        however often that is repeated within two minutes."""
        headers = {} if after is None else {"Nats-Expected-Last-Subject-Sequence": str(after)}
        if last is not None:
            headers["Nats-Expected-Last-Sequence"] = str(last)
        if id is not None:
            headers["Nats-Msg-Id"] = id
        try:
            return int((await self._request(self._at(parts), data, headers))["seq"])
        except Refused as refused:
            if refused.code == STALE:
                return None
            raise Unavailable(f"NATS refuses to write ({refused})") from refused

    async def remove(self, document: Document) -> bool:
        """Remove a document, if it was not changed meanwhile; say whether it was removed."""
        place = await self.put(b"", *document.parts, after=document.place)
        if place is not None:
            await self.drop(place)
        return place is not None

    async def drop(self, place: int) -> None:
        """Drop the entry at a place, if it is there."""
        with contextlib.suppress(Refused):
            await self.ask(f"STREAM.MSG.DELETE.{self.stream}", {"seq": place, "no_erase": True})

    async def tidy(self) -> None:
        """Drop entries of documents that were emptied a while ago."""
        before = asyncio.get_running_loop().time() - EMPTY_S
        for _ in range(AT_ONCE):
            if not self.emptied or self.emptied[0][0] > before:
                return
            await self.drop(self.emptied.popleft()[1])

    async def purge(self, *parts: str, under: bool = False) -> None:
        """Remove a document, or all `under` these parts."""
        subject = f"{self._at(parts)}.>" if under else self._at(parts)
        await self.ask(f"STREAM.PURGE.{self.stream}", {"filter": subject})

    async def change(
        self,
        change: Callable[[bytes], tuple[bytes | None, T]],
        *parts: str,
        guess: tuple[int, bytes] | None = None,
        told: Callable[[int, bytes], None] = lambda _place, _data: None,
    ) -> T:
        """Let `change` make new data of a document's (nothing: it is not there), with a result: None leaves it as it
        is. Called again if others were quicker; the changes of this process wait for each other. `guess` is the place
        and the data that the document may have: if so, it need not be asked for. `told` gets what it has by then."""
        turn = self._turns.setdefault(self._at(parts), _Turn())
        async with self._link.answered(), turn.lock:
            guess = turn.known or guess
            while True:
                guessed, (after, before) = guess is not None, guess or await self._known(parts)
                data, result = change(before)
                guess = None
                if data is None or not (data or before):
                    if guessed:
                        continue
                    return result
                place = await self.put(data, *parts, after=after)
                if place is None:
                    continue
                if not data:
                    self.emptied.append((asyncio.get_running_loop().time(), place))
                turn.known = place, data
                told(place, data)
                return result

    async def all(self, *parts: str, seconds: float = ANSWER_S) -> list[Document]:
        """Return all documents whose parts begin so, as they are at some moment of the call, in no order."""
        client, found, over = self._link.client, dict[tuple[str, ...], Document](), asyncio.Event()

        async def take(message: Msg) -> None:
            if not message.reply:  # a heartbeat: nothing is left
                over.set()
                return
            document, left = self._read(message)
            found[document.parts] = document
            if not left:
                over.set()

        inbox = client.new_inbox()
        async with self._link.answered(seconds):
            reading = await client.subscribe(inbox, cb=take)
            try:
                if await self._send_all(inbox, f"{self._at(parts)}.>"):
                    await over.wait()
            finally:
                await reading.unsubscribe()
        return [each for each in found.values() if each.data]

    async def _send_all(self, inbox: str, subject: str) -> bool:
        """Let the server send the entries of a subject to an inbox; say whether there are any."""
        if not await self.used():
            return False
        config = {
            "deliver_subject": inbox,
            "deliver_policy": "all",
            "ack_policy": "none",
            "filter_subject": subject,
            "idle_heartbeat": IDLE_NS,
            "inactive_threshold": LEFT_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        wanted = {"stream_name": self.stream, "config": config}
        made = await self.ask(f"CONSUMER.CREATE.{self.stream}", wanted)
        return bool(made["num_pending"] or made["delivered"]["consumer_seq"])

    def _read(self, message: Msg) -> tuple[Document, int]:
        """Return the document of a message, and how many are behind it."""
        about = message.metadata
        parts = tuple(map(names.unescaped, message.subject[len(self._subject) + 1 :].split(".")))
        at_ms = round(about.timestamp.timestamp() * 1_000)
        return Document(about.sequence.stream, parts, message.data, at_ms), about.num_pending
