"""Descriptors: as many as the system gives, some of them for no client."""

import os
import resource
from collections.abc import Iterator

import pytest

from server.process import descriptors


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_is_raised_to_the_hard_one() -> None:
    """A shell's default of 1,024 is far less than a server may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert descriptors.limit() == 256
    descriptors.raise_limit()
    assert descriptors.limit() == min(hard, descriptors.MOST) > 256


@pytest.mark.parametrize(
    ("limit", "in_use", "clients"),
    [(1_000_000, 30, 800_000), (1_024, 30, 820), (340, 30, 272), (200, 30, 134), (64, 20, 8), (64, 40, -12)],
)
def test_a_fifth_and_a_reserve_are_no_clients(limit: int, in_use: int, clients: int) -> None:
    """With few descriptors, those of the probes and the stores come first."""
    assert descriptors.for_clients(limit, in_use) == clients


def test_descriptors_in_use_are_counted() -> None:
    """Each opened one counts, until it is closed."""
    before = descriptors.in_use()
    ends = os.pipe()
    assert descriptors.in_use() == before + 2
    for end in ends:
        os.close(end)
    assert descriptors.in_use() == before
