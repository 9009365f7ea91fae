"""Descriptors shared out at the start."""

import resource
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from server.bootstrap.room import INTERNAL, find_room
from server.process import descriptors
from server.settings.errors import StartRefused


@pytest.fixture(autouse=True)
def _limit() -> Iterator[int]:
    """Of 1,000 descriptors, or 200 more than are in use."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(1_000, descriptors.in_use() + 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_clients_have_what_the_setting_says_or_what_can_be_spared(_limit: int) -> None:  # noqa: PT019  # the limit
    """0 is the default. The internal port always has its own."""
    spare = descriptors.for_clients(_limit, descriptors.in_use())
    assert find_room(0).clients == spare
    assert find_room(7).clients == 7
    assert find_room(0).internal == max(INTERNAL, _limit // 20)


def test_a_setting_beyond_the_descriptors_is_lowered_and_said(_limit: int) -> None:  # noqa: PT019  # the limit
    """The process would run out of them: no probe could be answered, and no log be read."""
    with capture_logs() as lines:
        room = find_room(10_000_000)
    assert room.clients < room.descriptors == _limit
    assert [(line["event"], line["wanted"], line["limit"]) for line in lines] == [
        ("connections.limited", 10_000_000, room.clients)
    ]


def test_too_few_descriptors_refuse_the_start() -> None:
    """The line says what to do."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors.in_use() + 20, hard))
    with pytest.raises(StartRefused, match="ulimit -n"):
        find_room(0)
