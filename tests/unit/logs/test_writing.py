"""The writing thread: lines in order, within bounds, whether the reader reads, stops or leaves."""

import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest

from server.logs.writing import FLUSH_S, MAX_KEPT, MAX_WAITING, ThreadWriter

LINE_CHARS = 256
"""Of the lines of a flood."""

ROOM = MAX_WAITING // LINE_CHARS
"""So many of them can wait."""


PIPE_LINES = (1 << 16) // (LINE_CHARS + 1)
"""So many of them are whole in a full pipe."""


def line(number: int) -> str:
    """Make a line of a flood."""
    return f"{number:08d}".ljust(LINE_CHARS, ".")


class Pipe:
    """A pipe whose reader reads when a test asks for it; the lines of its writer say how many are missing."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.writer = ThreadWriter(self.writing, "dropped {}".format)
        self._read = b""

    def fill(self) -> None:
        """Leave no room in the pipe."""
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"\n")
        os.set_blocking(self.writing, True)

    def read_to(self, last: str) -> list[str]:
        """Read on until this line comes. Return the lines, without empty ones."""
        while not self._read.endswith(f"{last}\n".encode()):
            piece = os.read(self.reading, 1 << 16)
            assert piece, "the pipe is closed"
            self._read += piece
        lines, self._read = self._read.decode().split(), b""
        return lines

    def close(self) -> None:
        """Close both ends."""
        for end in (self.reading, self.writing):
            with suppress(OSError):
                os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe of its own."""
    made = Pipe()
    yield made
    made.writer.flush()
    made.close()


def test_lines_come_in_the_order_in_which_they_were_given(pipe: Pipe) -> None:
    """Also if a line that must be kept, which is written at once, comes between others."""
    given = [str(number) for number in range(1_000)]
    for number, text in enumerate(given):
        (pipe.writer.keep if number % 100 == 99 else pipe.writer.put)(text)
    assert pipe.read_to("999") == given
    assert pipe.writer.dropped == 0


def test_a_reader_that_stops_costs_the_oldest_lines(pipe: Pipe) -> None:
    """Nobody waits for it. The newest lines are kept, and a line says how many are missing, in their place."""
    pipe.fill()
    given = ROOM * 4
    for number in range(given):
        pipe.writer.put(line(number))
    dropped = pipe.writer.dropped
    expected = 0
    for text in pipe.read_to(line(given - 1)):
        if len(text) == LINE_CHARS:
            assert int(text[:8]) == expected
            expected += 1
        elif text != "dropped":
            expected += int(text)
            dropped -= int(text)
    assert dropped == 0
    assert expected == given
    # As many as have room may be with the thread, and it may have taken them before or while a line found none.
    assert given - 2 * ROOM - 1 <= pipe.writer.dropped <= given - ROOM + 1


def test_lines_to_keep_outlive_the_others(pipe: Pipe) -> None:
    """A flood of other lines drops none of them, and they stay in order among themselves."""
    pipe.fill()
    kept = []
    for number in range(ROOM * 3):
        pipe.writer.put(line(number))
        if number % 1_000 == 0:
            kept.append(f"kept-{number}")
            pipe.writer.keep(kept[-1])
    pipe.writer.keep("last")
    assert pipe.writer.dropped > 0
    assert [text for text in pipe.read_to("last") if text.startswith("kept")] == kept


def test_lines_to_keep_are_bounded_too(pipe: Pipe) -> None:
    """The first of them say why the others came: over the bound, new ones are counted."""
    pipe.fill()
    room = MAX_KEPT // LINE_CHARS
    for number in range(3 * room):
        pipe.writer.keep(line(number))
    dropped = pipe.writer.dropped
    assert room <= dropped <= 2 * room
    pipe.writer.put("last")
    read = pipe.read_to("last")
    numbers = [int(text[:8]) for text in read if len(text) == LINE_CHARS]
    assert numbers == sorted(numbers)
    assert numbers[:room] == list(range(room))
    assert len(numbers) + dropped == 3 * room
    assert sum(int(count) for word, count in pairwise(read) if word == "dropped") == dropped


def test_a_reader_that_is_gone_costs_its_lines_alone(pipe: Pipe) -> None:
    """They are counted, and the writer goes on."""
    os.close(pipe.reading)
    pipe.writer.put("one")
    pipe.writer.keep("two")
    pipe.writer.flush()
    assert pipe.writer.dropped == 2
    pipe.writer.put("three")
    pipe.writer.flush()
    assert pipe.writer.dropped == 3


def test_lines_lost_for_another_reason_are_told_of(pipe: Pipe) -> None:
    """As soon as the descriptor takes lines again: a disk that was full has room."""
    kept_end = os.dup(pipe.writing)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, pipe.writing)
    pipe.writer.put("one")
    pipe.writer.flush()
    os.dup2(kept_end, pipe.writing)
    pipe.writer.put("two")
    assert pipe.read_to("two") == ["dropped", "1", "two"]
    for descriptor in (kept_end, full):
        os.close(descriptor)


def test_a_line_that_was_cut_off_ends_before_the_next(pipe: Pipe) -> None:
    """Also lines that could not be written whole are counted, and the line that tells of them is whole."""
    for number in range(2 * PIPE_LINES):
        pipe.writer.put(line(number))
    poll = select.poll()
    poll.register(pipe.writing, select.POLLOUT)
    deadline = time.monotonic() + FLUSH_S
    while poll.poll(0):  # until the pipe is full, and the rest waits
        assert time.monotonic() < deadline
    os.close(pipe.reading)
    pipe.writer.flush()
    assert pipe.writer.dropped == PIPE_LINES
    pipe.reading, writing = os.pipe()
    os.dup2(writing, pipe.writing)
    os.close(writing)
    pipe.writer.put("next")
    pipe.writer.flush()
    assert os.read(pipe.reading, 1 << 16).decode() == f"\ndropped {PIPE_LINES}\nnext\n"


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    """Somebody else who has the same terminal may have made it so."""
    pipe.fill()
    os.set_blocking(pipe.writing, False)
    pipe.writer.put("one")
    assert pipe.read_to("one") == ["one"]


def test_a_flush_waits_for_the_lines_but_not_for_a_reader_that_has_stopped(pipe: Pipe) -> None:
    """After it, all lines are in the pipe; or its time is over."""
    pipe.writer.put("one")
    pipe.writer.flush()
    assert select.select([pipe.reading], [], [], 0)[0]
    assert pipe.read_to("one") == ["one"]
    pipe.fill()
    pipe.writer.put("two")
    began = time.monotonic()
    pipe.writer.flush(0.05)
    assert time.monotonic() - began >= 0.05 < FLUSH_S
    assert pipe.read_to("two") == ["two"]


def test_a_line_that_the_encoding_lacks_is_escaped(pipe: Pipe) -> None:
    """And lone surrogates."""
    writer = ThreadWriter(pipe.writing, str, "ascii")
    writer.put("마\ud800")
    assert pipe.read_to("\\ub9c8\\ud800") == ["\\ub9c8\\ud800"]
