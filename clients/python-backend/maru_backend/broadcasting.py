"""One message to many channels: what failed for now is tried again, alone, and each channel has its own outcome."""

from collections.abc import Sequence

from maru_backend.answers import deliveries, parsed
from maru_backend.calls import TIMEOUT, Calls, Json, Request
from maru_backend.errors import MaruError
from maru_backend.values import Delivery

OPERATION = "broadcast"

MAX_CHANNELS = 1_000
"""Of one broadcast. A longer list is the caller's to split, since each part may fail alone."""


async def broadcast(calls: Calls, channels: Sequence[str], content: Json, key: str) -> tuple[Delivery, ...]:
    """Broadcast `content`, and return an outcome for each channel, in their order.

    Channels that failed with a retryable error are tried again under the same key until the call's time is up; the last
    error of each is then its outcome. Raises `MaruError` if no channel has an outcome.
    """
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise MaruError("bad_request", f"a broadcast goes to 1..{MAX_CHANNELS} channels, got {len(channels)}")
    outcomes: dict[int, Delivery] = {}
    open_places, deadline, failures = list(range(len(channels))), calls.deadline(), 0
    while open_places:
        try:
            results = await _once(calls, [channels[place] for place in open_places], content, key, deadline)
        except MaruError as failure:
            if len(outcomes) < len(channels):
                raise
            if failure.code == TIMEOUT:
                break  # the time was up during this try: the outcomes before it tell more
            results = tuple(Delivery(channels[place], error=failure) for place in open_places)
        outcomes.update(zip(open_places, results, strict=True))
        open_places = [place for place in open_places if _may_pass(outcomes[place])]
        if not open_places:
            break
        errors = [error for place in open_places if (error := outcomes[place].error) is not None]
        if not await calls.pause(OPERATION, failures, max(errors, key=_wait_ms), deadline):
            break
        failures += 1
    return tuple(outcomes[place] for place in range(len(channels)))


async def _once(
    calls: Calls, channels: Sequence[str], content: Json, key: str, deadline: float
) -> tuple[Delivery, ...]:
    body = {"channels": list(channels), **content}
    answer = await calls.answer(Request(OPERATION, "POST", "/broadcast", body=body, key=key), deadline)
    results = parsed(deliveries, answer)
    if [each.channel for each in results] != list(channels):
        raise MaruError("bad_answer", f"{len(channels)} channels were asked for, {len(results)} others were answered")
    return results


def _may_pass(outcome: Delivery) -> bool:
    return outcome.error is not None and outcome.error.retryable


def _wait_ms(error: MaruError) -> int:
    return error.retry_after_ms or 0
