"""Documents under subjects of a stream, changed by compare-and-set: a document is the last entry of its subject."""

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import orjson
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from server.adapters.nats import names
from server.adapters.nats.answers import Refused, answer
from server.adapters.nats.link import ANSWER_S, Link
from server.domain.errors import Unavailable

NEW = 0
"""The place of a document that is not there."""

IDLE_NS = 200_000_000
"""A reader that has got nothing for so long is told that nothing is left."""

LEFT_NS = 5_000_000_000
"""So long after its reader has gone, the server forgets what it was to send."""

_STREAM_MISSING, _NOT_FOUND, _STALE, _IN_USE, _TOO_FEW = 10059, 10037, 10071, 10058, 10074
"""The server's codes."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A document. `place` is its sequence in the stream, by which a change says what it replaces; `at_ms` is when it
    was written, by the server's clock."""

    place: int
    parts: tuple[str, ...]
    data: bytes
    at_ms: int


class Documents:
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
        self.stream, self._subject, self._link = f"{prefix}-{name}", f"{prefix}.{name}", link
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by subject
        self._config = {
            "name": self.stream,
            "subjects": [f"{self._subject}.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "num_replicas": replicas,
            "max_msgs": -1 if keeps is None else keeps,
            "max_msgs_per_subject": 1 if keeps is None else -1,
            "max_bytes": -1,
            "max_age": round(max_age_s * 1_000_000_000),
            "duplicate_window": min(120_000_000_000, round(max_age_s * 1_000_000_000) or 120_000_000_000),
        }

    async def get(self, *parts: str) -> Document | None:
        """Return a document."""
        try:
            answered = await self.ask(f"STREAM.MSG.GET.{self.stream}", {"last_by_subj": self._at(parts)})
        except Refused as refused:
            if refused.code == _NOT_FOUND:
                return None
            raise
        found = answered["message"]
        document = Document(found["seq"], parts, base64.b64decode(found.get("data", "")), _ms(found["time"]))
        return document if document.data else None

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
            if refused.code == _STALE:
                return None
            raise Unavailable(f"NATS refuses to write ({refused})") from refused

    async def remove(self, document: Document) -> bool:
        """Remove a document, if it was not changed meanwhile; say whether it was removed."""
        place = await self.put(b"", *document.parts, after=document.place)
        if place is not None:
            await self.purge(*document.parts, below=place + 1)
        return place is not None

    async def purge(self, *parts: str, below: int | None = None, under: bool = False) -> None:
        """Remove a document, or what is below a place; or all `under` these parts."""
        subject = f"{self._at(parts)}.>" if under else self._at(parts)
        wanted: dict[str, Any] = {"filter": subject} | ({} if below is None else {"seq": below})
        await self.ask(f"STREAM.PURGE.{self.stream}", wanted)

    async def change(self, change: Callable[[bytes], tuple[bytes | None, T]], *parts: str) -> T:
        """Let `change` make new data of a document's (nothing: it is not there), with a result: None leaves it as it
        is. Called again if others were quicker; the changes of this process wait for each other."""
        lock = self._locks.setdefault(self._at(parts), asyncio.Lock())
        async with self._link.answered(), lock:
            while True:
                found = await self.get(*parts)
                data, result = change(b"" if found is None else found.data)
                if data is None:
                    return result
                if data:
                    done = await self.put(data, *parts, after=NEW if found is None else found.place) is not None
                else:
                    done = found is None or await self.remove(found)
                if done:
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

    async def delete(self) -> None:
        """Remove the stream, if it is there."""
        with contextlib.suppress(Refused):
            await answer(self._link, f"$JS.API.STREAM.DELETE.{self.stream}", b"", {})

    async def state(self) -> dict[str, Any]:
        """Return the server's account of the stream: `created`, and `state`."""
        return await self.ask(f"STREAM.INFO.{self.stream}", {})

    async def next(self, place: int) -> Document | None:
        """Return the first entry at a place or behind it."""
        wanted = {"seq": place, "next_by_subj": f"{self._subject}.>"}
        try:
            found = (await self.ask(f"STREAM.MSG.GET.{self.stream}", wanted))["message"]
        except Refused as refused:
            if refused.code == _NOT_FOUND:
                return None
            raise Unavailable(f"NATS refuses to read ({refused})") from refused
        return Document(found["seq"], (), base64.b64decode(found.get("data", "")), _ms(found["time"]))

    async def _send_all(self, inbox: str, subject: str) -> bool:
        """Let the server send the entries of a subject to an inbox; say whether there are any."""
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

    def _at(self, parts: Sequence[str]) -> str:
        """Return the subject of a document."""
        return ".".join((self._subject, *map(names.escaped, parts)))

    async def ask(self, call: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Call JetStream's interface. Raises `Refused`."""
        return await self._request(f"$JS.API.{call}", orjson.dumps(wanted), {})

    async def _request(self, subject: str, data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Ask; if the stream is missing, make it first."""
        try:
            return await answer(self._link, subject, data, headers)
        except (NoRespondersError, Refused) as error:
            if isinstance(error, Refused) and error.code != _STREAM_MISSING:
                raise
        await self.make()
        try:
            return await answer(self._link, subject, data, headers)
        except NoRespondersError as error:
            raise Unavailable("NATS has no JetStream yet") from error

    async def refusal(self) -> str | None:
        """Return why NATS will not make the stream until somebody changes one of the two; None if it does, or is only
        away."""
        try:
            await answer(self._link, f"$JS.API.STREAM.CREATE.{self.stream}", orjson.dumps(self._config), {})
        except Refused as refused:
            return str(refused) if refused.code == _TOO_FEW else None
        except (NoRespondersError, Unavailable):
            return None
        return None

    async def make(self) -> None:
        """Make the stream, unless it is there."""
        try:
            await answer(self._link, f"$JS.API.STREAM.CREATE.{self.stream}", orjson.dumps(self._config), {})
        except Refused as refused:
            if refused.code != _IN_USE:  # it is there, as another version makes it
                raise Unavailable(f"NATS refuses to make a stream ({refused})") from refused
        except NoRespondersError as error:
            raise Unavailable("NATS has no JetStream yet") from error


def _ms(text: str) -> int:
    """Return the milliseconds of a time as the server writes it, to the nanosecond."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return round(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 1_000 + int(f"{fraction:0<3.3}")
