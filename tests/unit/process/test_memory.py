"""How much memory there is: the container's limit, or the machine's."""

from pathlib import Path

import pytest

from server.process.memory import memory_limit, resident_bytes

MACHINE = memory_limit([])


@pytest.mark.parametrize(
    ("contents", "limit"),
    [
        (["1048576\n"], 1 << 20),
        (["max\n"], MACHINE),
        ([""], MACHINE),
        ([None], MACHINE),
        ([None, "2097152"], 2 << 20),
        (["max", "2097152"], 2 << 20),
        (["9223372036854771712"], MACHINE),
    ],
)
def test_the_containers_limit_or_the_machines_memory(tmp_path: Path, contents: list[str | None], limit: int) -> None:
    """The first file with a number counts; `max`, no file, and a number beyond the machine are none."""
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / str(number))
        if content is not None:
            files[-1].write_text(content)
    assert memory_limit(files) == limit


def test_the_machine_has_memory() -> None:
    """Without any container."""
    assert 1 << 26 < MACHINE < 1 << 50


def test_the_process_takes_some_memory() -> None:
    """Of that of the machine."""
    assert 1 << 20 < resident_bytes() < MACHINE
