"""Reads the Secrets of Helm's releases, the only objects that Helm writes in Kubernetes' protobuf."""

import base64
from collections import defaultdict
from collections.abc import Iterator

from tests.kubernetes.api.kinds import Json

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

VARINT, BYTES = 0, 2
"""Wire types of protobuf; a Secret has no others."""

Fields = dict[int, list[bytes]]


def secret(body: bytes) -> Json:
    """Return a Secret in `runtime.Unknown`'s envelope as JSON would have it. Raises `ValueError` on anything else.

    The numbers are those of k8s.io/apimachinery's and k8s.io/api/core/v1's `generated.proto`.
    """
    if not body.startswith(MAGIC):
        raise ValueError("not Kubernetes' protobuf: it does not begin with k8s")
    envelope = _fields(body[len(MAGIC) :])
    kind = _fields(envelope[1][0])[2][0].decode()
    if kind != "Secret":
        raise ValueError(f"a {kind} in protobuf, only a Secret was expected")
    fields = _fields(envelope[2][0])
    metadata = _fields(fields[1][0])
    return {
        "metadata": {
            "name": _text(metadata, 1),
            "labels": {name: value.decode() for name, value in _map(metadata[11])},
        },
        "data": {name: base64.b64encode(value).decode() for name, value in _map(fields[2])},
        "type": _text(fields, 3),
    }


def _fields(message: bytes) -> Fields:
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == VARINT:
            _, at = _varint(message, at)
        elif tag & 7 == BYTES:
            size, at = _varint(message, at)
            found[tag >> 3].append(message[at : at + size])
            at += size
        else:
            raise ValueError(f"wire type {tag & 7} in a Secret")
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _map(entries: list[bytes]) -> Iterator[tuple[str, bytes]]:
    for entry in entries:
        pair = _fields(entry)
        yield _text(pair, 1), pair[2][0] if pair[2] else b""


def _text(fields: Fields, number: int) -> str:
    return fields[number][0].decode() if fields[number] else ""
