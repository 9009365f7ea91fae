"""A reader's place in the stream of orders, when the stream is not the one that it was."""

from typing import Any

from server.adapters.orders import encode_order
from server.adapters.redis.heard import BACK_MS, NOWHERE, REMEMBERED, HeardOrders, has_lost
from server.domain.control import Order, SessionsEnded
from server.domain.identity import UserId

NOW = 1_700_000_000_000


def order(number: int) -> Order:
    """An order of its own."""
    return SessionsEnded(UserId(str(number)), reconnect=False)


def entry(number: int, at: int) -> tuple[bytes, list[bytes]]:
    """An entry of the stream."""
    return b"%d-0" % at, [b"n", b"%d" % number, b"o", encode_order(order(number))]


def info(last: int, *, stands: bool = True) -> list[Any]:
    """The answer to XINFO STREAM."""
    id = b"%d-0" % last
    return [b"length", int(stands), b"last-generated-id", id, b"last-entry", [id, []] if stands else None]


def test_a_reader_goes_back_and_hears_what_is_new() -> None:
    """After a failover: entries that it has read are not heard twice, others at their times are."""
    heard = HeardOrders()
    heard.begin(info(NOW))
    assert heard.take([entry(number, NOW + number) for number in (1, 2, 4)], 500) == [order(1), order(2), order(4)]
    heard.step_back(info(NOW + 3))
    assert (heard.place, heard.anchored, heard.at_end) == ((NOW, 0), False, False)
    assert heard.take([entry(1, NOW + 1), entry(3, NOW + 2), entry(2, NOW + 3)], 500) == [order(3)]


def test_a_reader_does_not_go_back_behind_its_beginning() -> None:
    """Orders of before are in the stores by now, or were for nobody who is here."""
    heard = HeardOrders()
    heard.begin(info(NOW))
    heard.take([entry(1, NOW + 5)], 500)
    heard.step_back(info(NOW + 9))
    assert heard.place == (NOW, 0)
    heard.take([entry(2, NOW + 10 * BACK_MS)], 500)
    heard.step_back(info(NOW + 10 * BACK_MS))
    assert heard.place == (NOW + 9 * BACK_MS, 0)


def test_a_stream_that_is_empty_or_shorter_is_read_from_its_end() -> None:
    """All of its later entries come, whatever their times."""
    for rest, place in ((None, NOWHERE), (info(NOW - 7, stands=False), (NOW - 7, 0)), (info(NOW - 7), (NOW - 7, 0))):
        heard = HeardOrders()
        heard.begin(info(NOW))
        heard.step_back(rest)
        assert heard.place == place


def test_a_reader_does_not_go_back_behind_the_orders_that_it_remembers() -> None:
    """Else it would hear them twice."""
    heard = HeardOrders()
    heard.begin(info(NOW))
    heard.take([entry(number, NOW + number) for number in range(1, REMEMBERED + 11)], 500)
    heard.step_back(info(NOW + REMEMBERED + 10))
    assert heard.place == (NOW + 10, 0)


def test_a_failed_read_without_an_anchor_is_no_proof() -> None:
    """Nothing would show that entries were trimmed; but none may be passed over either, the first of all included."""
    heard = HeardOrders()
    heard.begin(None)
    heard.take([], 500)
    assert (heard.unsure, heard.at_end) == (False, True)
    heard.interrupt()
    assert (heard.unsure, heard.at_end) == (True, False)
    heard.step_back(info(NOW))
    assert (heard.unsure, heard.place) == (False, NOWHERE)
    assert heard.take([entry(1, NOW)], 500) == [order(1)]
    heard.interrupt()
    assert (heard.unsure, heard.at_end) == (False, False)


def test_an_entry_that_is_gone_was_lost_or_trimmed() -> None:
    """Trimmed only if the list is full."""
    assert [has_lost(rest, limit=1) for rest in (None, info(NOW, stands=False), info(NOW))] == [True, True, False]
