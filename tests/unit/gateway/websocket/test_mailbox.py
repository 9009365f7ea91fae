"""A client's packets between reading and handling: in order, marked if they are to be skipped, at a fair pace."""

import asyncio
import time
from sys import getsizeof

from hypothesis import given
from hypothesis import strategies as st

from server.application.turn import TURN_S
from server.gateway.websocket.mailbox import MAILBOX_HIGH, MAILBOX_HIGH_BYTES, Mailbox
from tests.doubles.wired import Client, wired


def congest(client: Client) -> None:
    """Send the client more than the kernel takes."""
    while not client.connection.writer.congested:
        client.connection.writer.send_now(b"x" * 50_000)


def mailbox_of(packet: str) -> Mailbox:
    """A mailbox with a packet."""
    mailbox = Mailbox()
    mailbox.put(packet)
    return mailbox


@given(deeds=st.lists(st.sampled_from(("put", "next", "next", "skip", "clear")), max_size=40))
def test_it_is_a_queue_with_marks(deeds: list[str]) -> None:
    """Packets leave in the order in which they came; marked are those, and only those, that waited at a skip."""

    async def scenario() -> None:
        async with wired(1) as scene:
            writer, mailbox = scene.clients[0].connection.writer, mailbox_of("0")
            model = [("0", False)]
            for number, deed in enumerate(deeds, start=1):
                if deed == "put":
                    mailbox.put(str(number))
                    model.append((str(number), False))
                elif deed == "skip":
                    mailbox.skip_waiting()
                    model = [(packet, True) for packet, _ in model]
                elif deed == "clear":
                    mailbox.clear()
                    model.clear()
                elif model:
                    assert (await mailbox.next(writer), mailbox.skipped) == model.pop(0)
                else:
                    assert await mailbox.next(writer) is None
                assert len(mailbox) == len(model)
                assert mailbox.bytes == sum(getsizeof(packet) for packet, _ in model)

    asyncio.run(scenario())


def test_it_is_full_by_packets_or_by_bytes() -> None:
    """A rare character makes a text four times as large in memory, and counts so."""
    small, large, wide = mailbox_of("x"), mailbox_of("x"), mailbox_of("x")
    for _ in range(MAILBOX_HIGH - 2):
        small.put("x")
    large.put("x" * (MAILBOX_HIGH_BYTES - 200))
    wide.put("x" * (MAILBOX_HIGH_BYTES // 4 - 60) + "\U0001f600")
    for mailbox in (small, large, wide):
        assert (mailbox.is_full, mailbox.has_room) == (False, False)
        mailbox.put("x" * 100)
        assert mailbox.is_full
    assert mailbox_of("x" * 30_000).has_room


async def test_a_busy_client_gives_others_a_turn() -> None:
    """After its share of the event loop; before that, the next packet is there at once."""
    async with wired(1) as scene:
        writer, mailbox = scene.clients[0].connection.writer, mailbox_of("first")
        mailbox.put("second")
        others: list[str] = []
        asyncio.get_running_loop().call_soon(others.append, "a turn")
        assert (await mailbox.next(writer), others) == ("first", [])
        over = time.monotonic() + TURN_S
        while time.monotonic() <= over:
            pass
        assert (await mailbox.next(writer), others) == ("second", ["a turn"])


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    """Its next packet is handled when it has taken what has been sent to it."""
    async with wired(1) as scene:
        client = scene.clients[0]
        congest(client)
        mailbox = mailbox_of("packet")
        packet = asyncio.create_task(mailbox.next(client.connection.writer))
        await asyncio.sleep(0)
        assert not packet.done()
        while not packet.done():
            await client.take()
        assert await packet == "packet"
        assert not client.connection.writer.congested


async def test_packets_may_be_dropped_while_it_waits() -> None:
    """Then there is none, though there was one before."""
    async with wired(1) as scene:
        client = scene.clients[0]
        congest(client)
        mailbox = mailbox_of("packet")
        packet = asyncio.create_task(mailbox.next(client.connection.writer))
        await asyncio.sleep(0)
        mailbox.clear()
        client.connection.writer.stop()
        assert await packet is None
