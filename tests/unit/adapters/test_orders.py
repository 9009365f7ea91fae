"""Orders as bytes: bounds, and versions."""

import orjson
import pytest

from server.adapters.orders import MAX_BYTES, decode_order, encode_order
from server.domain.channels import ChannelName
from server.domain.control import MemberRemoved, Order, Revocation, Revoked, SessionsEnded, UnknownOrder
from server.domain.identity import UserId

LONG = UserId("\U0001f600" * 256)


@pytest.mark.parametrize(
    "order",
    [
        Revoked(Revocation("0" * 64, LONG, None, 1, 2)),
        Revoked(Revocation("0" * 64, None, "\u2028" * 1_024, 1, 2)),
        MemberRemoved(ChannelName("c" * 128), LONG, None),
    ],
)
def test_the_largest_orders_fit(order: Order) -> None:
    """They come back as they were."""
    raw = encode_order(order)
    assert len(raw) < MAX_BYTES
    assert decode_order(raw) == order


def test_further_fields_are_passed_over() -> None:
    """A later version may add some."""
    fields = orjson.loads(encode_order(SessionsEnded(UserId("a"), reconnect=True))) | {"by": "operator"}
    assert decode_order(orjson.dumps(fields)) == SessionsEnded(UserId("a"), reconnect=True)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"k": "other"},
        {"id": 1},
        {"user": None},
        {"token_id": "both"},
        {"issued_before": -1},
        {"issued_before": True},
        {"issued_before": "1"},
        {"expires_at": 10**15},
        {"ban": 1},
    ],
)
def test_other_orders_are_unknown(change: dict[str, object]) -> None:
    """Of another version or kind, or with a field that makes no sense."""
    fields = orjson.loads(encode_order(Revoked(Revocation("id", UserId("a"), None, 1, 2))))
    assert decode_order(orjson.dumps(fields | change)) == UnknownOrder()


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"{}", b"\xff", b'{"v":1}', b"9" * (MAX_BYTES + 1)])
def test_bytes_that_are_no_order_are_unknown(raw: bytes) -> None:
    """They hold up nobody."""
    assert decode_order(raw) == UnknownOrder()
