"""Which topics are asked for, and whose wait a confirmation ends."""

import pytest

from server.adapters.redis.topics import Topics
from server.domain.errors import Unavailable


async def test_a_confirmation_ends_the_wait_of_those_it_answers() -> None:
    """Who asks after an UNSUBSCRIBE waits for the second SUBSCRIBE's confirmation, not for the first one's."""
    topics = Topics()
    first = topics.want("t")
    assert topics.ask("t") == "SUBSCRIBE"
    topics.unwant("t")
    assert topics.ask("t") == "UNSUBSCRIBE"
    second = topics.want("t")
    assert topics.ask("t") == "SUBSCRIBE"
    topics.confirm("t")
    assert (first.done(), second.done()) == (True, False)
    topics.confirm("t")
    assert second.done()


async def test_those_who_ask_at_once_share_a_command() -> None:
    """The first to send asks for all; the others have nothing to send."""
    topics = Topics()
    waiting = [topics.want("t") for _ in range(3)]
    assert [topics.ask("t") for _ in range(3)] == ["SUBSCRIBE", None, None]
    topics.confirm("t")
    assert all(one.done() for one in waiting)


async def test_who_is_overtaken_is_told() -> None:
    """A topic that is not wanted any more is not asked for; who waited to ask for it gets `Unavailable`."""
    topics = Topics()
    waiting = topics.want("t")
    topics.unwant("t")
    assert topics.ask("t") == "UNSUBSCRIBE"
    with pytest.raises(Unavailable):
        await waiting


async def test_a_new_connection_asks_for_what_is_wanted() -> None:
    """Those who waited for the lost connection's confirmation wait for the new one's; what is unwanted is left out."""
    topics = Topics()
    asked, gone = topics.want("a"), topics.want("b")
    assert [topics.ask("a"), topics.ask("b")] == ["SUBSCRIBE", "SUBSCRIBE"]
    topics.unwant("b")
    late = topics.want("a")
    late.cancel()
    assert list(topics.ask_all()) == ["a"]
    topics.confirm("a")
    topics.confirm("a")
    topics.confirm("shared")
    assert asked.result() is None
    assert len(topics) == 1
    with pytest.raises(Unavailable):
        await gone
