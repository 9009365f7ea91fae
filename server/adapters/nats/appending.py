"""The append of several entries to a stream: on their way at once, and taken in their order."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.adapters.nats import entries
from server.adapters.nats.acks import NoStream
from server.adapters.nats.client import FAILURES
from server.adapters.nats.entries import Entry
from server.adapters.nats.fold import Fold
from server.adapters.nats.link import ANSWER_S
from server.adapters.nats.streams import Streams, is_stale
from server.domain.errors import Unavailable

LOOK_S = 0.1
"""How often a wait looks whether the link is lost."""


@dataclass(frozen=True, slots=True)
class Acked:
    """How far an append of several entries came: so many are written. `stale`: the next was refused, since the fold is
    behind, and none behind it is written. `lost`: of the others nobody knows."""

    written: int
    stale: bool = False
    lost: Exception | None = None


async def append(
    streams: Streams, subject: str, fold: Fold, planned: Sequence[Entry], seconds: float = ANSWER_S
) -> Acked:
    """Write entries that were decided behind the fold, in their order: all of them, or the first. Take those that are
    written into the fold. After so many seconds nobody waits any more."""
    acks, failure, losses = list[asyncio.Future[int]](), None, streams.link.losses
    expected = {"Nats-Expected-Last-Sequence": str(fold.seq)}
    try:
        for entry in planned:
            headers = {"Nats-Msg-Id": entry.token, **expected}
            acks.append(await streams.publish(subject, entries.encode(entry), headers))
            # Ids name a single entry each, so the next is taken only behind this one.
            expected = {"Nats-Expected-Last-Msg-Id": entry.token}
    except (*FAILURES, Unavailable) as error:
        failure = error
    if acks:
        await _wait(streams, acks, seconds, losses)
    return _acked(fold, planned, acks, failure)


async def _wait(streams: Streams, acks: Sequence[asyncio.Future[int]], seconds: float, losses: int) -> None:
    """Wait for acknowledgements, for so long, or until the link is lost once more than `losses` times."""
    ends = asyncio.get_running_loop().time() + seconds
    pending: Iterable[asyncio.Future[int]] = acks
    while pending and (left := ends - asyncio.get_running_loop().time()) > 0 and losses == streams.link.losses:
        _, pending = await asyncio.wait(pending, timeout=min(LOOK_S, left))


def _acked(
    fold: Fold, planned: Sequence[Entry], acks: Sequence[asyncio.Future[int]], failure: BaseException | None
) -> Acked:
    written: list[Entry] = []
    errors = [ack.exception() if ack.done() else TimeoutError() for ack in acks]
    for entry, ack, error in zip(planned, acks, errors, strict=False):
        if error is not None:
            failure = error
            break
        written.append(_placed(entry, ack.result()))
    fold.extend(written)
    if len(written) == len(planned):
        return Acked(len(written))
    if is_stale(failure) or isinstance(failure, NoStream):  # none of the others is written either
        return Acked(len(written), stale=True)
    lost = Unavailable(f"NATS did not take the event ({type(failure).__name__})")
    lost.__cause__ = failure
    return Acked(len(written), lost=lost)


def _placed(entry: Entry, seq: int) -> Entry:
    """Return the entry with its sequence."""
    return Entry(
        entry.token,
        entry.written,
        entry.head,
        entry.start,
        entry.earned,
        entry.event,
        entry.marks,
        entry.reacts,
        entry.erases,
        entry.floor,
        seq,
    )
