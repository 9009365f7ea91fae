"""JetStream's own interface, as far as the log needs it: entries of streams, appended under a condition.

Every method raises the errors of the client library, and `StreamGone`; callers are inside `Link.answered`.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from server.adapters.nats.acks import Acks, Refused
from server.adapters.nats.link import ANSWER_S, Link
from server.adapters.nats.pulling import Raw, pulled

_STREAM_GONE, _NOT_FOUND, _IN_USE, _OVERLAP = 10059, 10037, 10058, 10065
_WRONG_LAST = (10070, 10071)
"""The server's codes of errors: another last id, another last sequence."""


USED_LIMIT = 100_000
"""Streams of which it is remembered that they have had entries. Over this number all are asked for again."""


class StreamGone(NatsError):
    """The stream is not there."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A stream: its description, how many entries it has, the last sequence, and when the first was written."""

    note: str
    entries: int
    last: int
    oldest: int


def unix_ms(time: str) -> int:
    """Return a time of the server in milliseconds since the Unix epoch."""
    return round(datetime.fromisoformat(time).timestamp() * 1_000)


def is_stale(error: object) -> bool:
    """Say whether an append was refused because somebody else's came first."""
    return isinstance(error, Refused) and error.code in _WRONG_LAST


class Streams:
    """The streams of an account, over a link."""

    def __init__(self, link: Link, *, replicas: int = 1) -> None:
        self.link = link
        self.replicas = replicas
        self._used: set[str] = set()  # streams that have had entries
        self._acks: tuple[Client, asyncio.Task[Acks]] | None = None  # of one connection

    async def create(self, name: str, subject: str, note: str = "", **limits: Any) -> None:
        """Make the stream; nothing happens if it is there."""
        config = {
            "name": name,
            "subjects": [subject],
            "description": note,
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": self.replicas,
            "duplicate_window": 2_000_000_000,  # ids serve the order of appends alone
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_consumers": -1,
            "max_msg_size": -1,
            **limits,
        }
        try:
            await self.ask(f"STREAM.CREATE.{name}", config)
        except APIError as error:
            if error.err_code == _OVERLAP:  # as while somebody else makes it
                with suppress(StreamGone):
                    await self.ask(f"STREAM.INFO.{name}", {})
                    return
            if error.err_code != _IN_USE:  # it is there, with other limits
                raise

    async def delete(self, name: str) -> None:
        """Remove the stream, if it is there."""
        try:
            await self.ask(f"STREAM.DELETE.{name}", {})
        except StreamGone:
            return

    async def last(self, stream: str, subject: str) -> Raw | None:
        """Return the last entry of a subject. Raises `StreamGone`."""
        return await self._get(stream, {"last_by_subj": subject})

    async def bare(self, stream: str) -> int | None:
        """Return the last sequence of a stream without entries, 0 if it never had any; None if it has entries. Raises
        `StreamGone`."""
        state = (await self.ask(f"STREAM.INFO.{stream}", {}))["state"]
        return None if state["messages"] else int(state["last_seq"])

    async def get(self, stream: str, seq: int) -> Raw | None:
        """Return the entry with this sequence, None if there is none (any more). Raises `StreamGone`."""
        return await self._get(stream, {"seq": seq})

    async def _is_used(self, stream: str) -> bool:
        """Return whether the stream has ever had an entry. Raises `StreamGone`.

        To be asked before an entry is asked for: nats-server 2.9 ends with a nil pointer if somebody is making the
        stream at that moment. Asked for the stream itself it answers that nothing is in it.
        """
        if stream not in self._used:
            if not (await self.ask(f"STREAM.INFO.{stream}", {}))["state"]["last_seq"]:
                return False
            if len(self._used) >= USED_LIMIT:
                self._used.clear()
            self._used.add(stream)
        return True

    async def _get(self, stream: str, wanted: Mapping[str, Any]) -> Raw | None:
        if not await self._is_used(stream):
            return None
        try:
            found = (await self.ask(f"STREAM.MSG.GET.{stream}", wanted))["message"]
        except APIError as error:
            if error.err_code == _NOT_FOUND:
                return None
            raise
        return Raw(found["seq"], found["subject"], base64.b64decode(found.get("data", "")), found["time"])

    async def entries(self, stream: str, subject: str, first: int = 1) -> AsyncGenerator[Raw, None]:
        """Yield the entries of a subject, which may end with a star, from a sequence on, up to the last of now."""
        wanted = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "filter_subject": subject,
            "inactive_threshold": 5_000_000_000,
            "num_replicas": 1,
            "mem_storage": True,
        }
        if not await self._is_used(stream):
            return
        made = await self.ask(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": wanted})
        name, pending = made["name"], made.get("num_pending", 0)
        client = self.link.client
        try:
            if pending:
                async with aclosing(pulled(client, f"{stream}.{name}", pending)) as found:
                    async for raw in found:
                        yield raw
        finally:
            await client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")  # nobody waits for it

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> asyncio.Future[int]:
        """Send an entry; the future is its sequence, or `Refused`. It is never done if the connection is lost."""
        client = self.link.client
        if self._acks is None or self._acks[0] is not client:
            self._acks = client, asyncio.create_task(Acks.open(client))
        return await (await asyncio.shield(self._acks[1])).publish(subject, data, headers)

    async def put(self, subject: str, data: bytes, *, after: int | None = None) -> bool:
        """Write an entry and wait for it. With `after`, only if the subject's last entry has this sequence (0: there is
        none); return whether that was so."""
        headers = {} if after is None else {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            async with asyncio.timeout(ANSWER_S):
                await (await self.publish(subject, data, headers))
        except Refused as error:
            if not is_stale(error):
                raise
            return False
        return True

    async def erase(self, stream: str, seq: int, *, shred: bool = False) -> bool:
        """Remove an entry; return whether it was there. `shred`: its bytes are overwritten."""
        try:
            await self.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": not shred})
        except APIError as error:
            if error.err_code not in (_NOT_FOUND, 10043, 10057):  # each version of the server has its own
                raise
            return False
        return True

    async def purge(self, stream: str, below: int, subject: str | None = None) -> None:
        """Remove the entries below a sequence, or those of a subject."""
        wanted: dict[str, Any] = {"seq": below} if below else {}
        await self.ask(f"STREAM.PURGE.{stream}", wanted | ({} if subject is None else {"filter": subject}))

    async def all(self) -> dict[str, Listed]:
        """Return all streams, by name. A call for each 256 of them."""
        found: dict[str, Listed] = {}
        offset, total = 0, 1
        while offset < total:
            told = await self.ask("STREAM.LIST", {"offset": offset})
            page, total = told.get("streams") or (), told["total"]
            for config, state in ((each["config"], each["state"]) for each in page):
                note, oldest = config.get("description", ""), unix_ms(state["first_ts"])
                found[config["name"]] = Listed(note, state["messages"], state["last_seq"], oldest)
            offset += len(page) or total
        return found

    async def ask(self, call: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Call JetStream's interface. Raises `StreamGone`, `APIError`."""
        try:
            message = await self.link.client.request(f"$JS.API.{call}", orjson.dumps(wanted), timeout=ANSWER_S)
        except NoRespondersError as error:
            raise NatsError("the server has no JetStream") from error
        answer: dict[str, Any] = orjson.loads(message.data)
        if refusal := answer.get("error"):
            if refusal.get("err_code") == _STREAM_GONE:
                self._used.discard(call.rpartition(".")[2])
                raise StreamGone("no such stream")
            raise APIError.from_error(refusal)
        return answer
