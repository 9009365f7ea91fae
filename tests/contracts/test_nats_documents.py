"""Documents in NATS, and the secret that replicas share there."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from server.adapters.nats.documents import NEW, Documents
from server.adapters.nats.link import Link
from server.adapters.nats.shared_secret import SECRET_BYTES, shared_secret
from server.domain.errors import Unavailable
from tests.harness.nats import NatsProcess
from tests.harness.process import free_port

_numbers = count(1)


@pytest.fixture
async def link(nats_server: NatsProcess) -> AsyncIterator[Link]:
    """A link to NATS."""
    async with Link(nats_server.url) as link:
        yield link


@pytest.fixture
def documents(link: Link) -> Documents:
    """A stream of the test's own."""
    return Documents(link, "documents", prefix=f"documents-{next(_numbers)}")


async def test_a_change_replaces_what_it_has_seen(documents: Documents) -> None:
    """And nothing else: of two, one is told that it was too late."""
    assert await documents.get("a") is None
    first = await documents.put(b"1", "a", after=NEW)
    assert first is not None
    assert await documents.put(b"x", "a", after=NEW) is None
    second = await documents.put(b"2", "a", after=first)
    assert await documents.put(b"x", "a", after=first) is None
    found = await documents.get("a")
    assert found is not None
    assert (found.data, found.place) == (b"2", second)
    assert found.at_ms > 1_700_000_000_000
    assert await documents.remove(found)
    assert not await documents.remove(found)
    assert await documents.get("a") is None
    assert await documents.put(b"3", "a", after=NEW) is not None


async def test_changes_of_many_add_up(nats_server: NatsProcess, documents: Documents) -> None:
    """Of this process, and of another."""
    async with Link(nats_server.url) as link:
        other = Documents(link, "documents", prefix=documents.stream.removesuffix("-documents"))

        def grow(data: bytes) -> tuple[bytes | None, int]:
            return data + b"x", len(data)

        each = [*(documents.change(grow, "a") for _ in range(50)), *(other.change(grow, "a") for _ in range(50))]
        assert sorted(await asyncio.gather(*each)) == list(range(100))


async def test_all_that_begin_alike_are_read(documents: Documents) -> None:
    """Whatever stands in their names; none that was removed."""
    assert await documents.all() == []
    names = ["a.b", "∂ *", ">", "\n", "=2E;"]
    for name in names:
        await documents.put(name.encode(), "one", name)
        await documents.put(name.encode(), "two", name)
    found = await documents.all("one")
    assert {(each.parts, each.data) for each in found} == {(("one", name), name.encode()) for name in names}
    for each in found:
        assert await documents.remove(each)
    assert await documents.all("one") == []
    assert len(await documents.all()) == len(names)
    await documents.purge("two", under=True)
    assert await documents.all() == []


async def test_many_are_read(documents: Documents) -> None:
    """Thousands."""
    for start in range(0, 3_000, 500):
        await asyncio.gather(*(documents.put(b"x" * 100, f"{number}") for number in range(start, start + 500)))
    assert len(await documents.all()) == 3_000


async def test_what_is_written_once_is_there_once(link: Link) -> None:
    """However often it is repeated, under its id."""
    entries = Documents(link, "entries", prefix=f"documents-{next(_numbers)}", keeps=100)
    for id in ("a", "a", "b"):
        await entries.put(id.encode(), "list", id=id)
    state = (await entries.state())["state"]
    assert state["messages"] == 2


async def test_replicas_find_the_same_secret(link: Link) -> None:
    """Also all at once; another deployment has its own."""
    one, other = (Documents(link, "shared", prefix=f"documents-{next(_numbers)}") for _ in range(2))
    found = await asyncio.gather(*(shared_secret(one) for _ in range(10)))
    assert len(set(found)) == 1
    assert len(found[0]) == SECRET_BYTES
    assert await shared_secret(one) == found[0]
    assert await shared_secret(other) != found[0]


async def test_nats_is_away() -> None:
    """Every call is an error, at once."""
    async with Link(f"nats://127.0.0.1:{free_port()}") as link:
        documents = Documents(link, "documents")
        calls = (documents.get("a"), documents.put(b"1", "a"), documents.all(), documents.purge("a"))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in results] == [Unavailable] * 4
