"""Payloads in the notices of `NOTIFY`, several in each.

A notice is `CHANNEL CHANNEL ...|PAYLOAD PAYLOAD ...|NUMBER`, the payloads in base64. A replica that hosts none of the
channels reads no further than the first bar. Nothing in a notice needs quoting in SQL. PostgreSQL drops a notice that
is the same as another of its transaction, so they are numbered.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator

from server.domain.channels import MAX_CHANNEL_CHARS, ChannelName

MAX_NOTICE_BYTES = 7_999
"""PostgreSQL refuses longer ones."""

NUMBER_CHARS = 6

MAX_PAYLOAD_BYTES = (MAX_NOTICE_BYTES - MAX_CHANNEL_CHARS - len("||") - NUMBER_CHARS) // 4 * 3
"""A payload of this size has room in a notice of its own, whatever its channel is."""

BAR = "|"


def packed(payloads: Iterable[tuple[ChannelName, bytes]]) -> Iterator[str]:
    """Yield notices with all the payloads, in their order."""
    channels: list[str] = []
    texts: list[str] = []
    size = number = 0
    for channel, payload in payloads:
        text = b64encode(payload).decode()
        needs = len(channel) + len(text) + 2  # with what separates it from the next
        if channels and size + needs + NUMBER_CHARS > MAX_NOTICE_BYTES:
            yield _notice(channels, texts, number)
            channels, texts, size, number = [], [], 0, number + 1
        channels.append(channel)
        texts.append(text)
        size += needs
    if channels:
        yield _notice(channels, texts, number)


def wanted(notice: str, hosted: set[str]) -> Iterator[tuple[ChannelName, bytes]]:
    """Yield the payloads of those channels, in their order. Raises `ValueError` on a stranger's notice, at its end."""
    channels = notice[: notice.find(BAR)].split(" ")
    if hosted.isdisjoint(channels):
        return
    _, payloads, _ = notice.split(BAR)
    texts = payloads.split(" ")
    for channel, text in zip(channels, texts, strict=True):
        if channel in hosted:
            yield ChannelName(channel), b64decode(text, validate=True)


def _notice(channels: list[str], texts: list[str], number: int) -> str:
    return f"{' '.join(channels)}{BAR}{' '.join(texts)}{BAR}{number}"
