"""Finding sessions by a key."""

from server.application.sessions.index import Index
from server.application.sessions.session import Session
from server.domain.identity import SessionId
from tests.doubles.samples import identity


def some(name: str) -> Session:
    """A session."""
    return Session(SessionId(name), identity("alice"))


def test_a_session_is_found_until_it_is_discarded() -> None:
    """However many have the key; a key without sessions is forgotten. Discarding twice is no error."""
    index: Index[str] = Index()
    sessions = [some(str(number)) for number in range(3)]
    assert index.find("a") == ()
    for count, session in enumerate(sessions, 1):
        index.add("a", session)
        index.add("a", session)
        assert set(index.find("a")) == set(sessions[:count])
        assert len(index.find("a")) == count
    index.add("b", sessions[0])
    for count, session in enumerate(sessions, 1):
        index.discard("a", session)
        index.discard("a", session)
        assert set(index.find("a")) == set(sessions[count:])
    assert index.find("b") == (sessions[0],)
    index.discard("b", sessions[1])
    index.discard("b", sessions[0])
    assert (index.find("a"), index.find("b")) == ((), ())


def test_what_is_found_may_be_ended() -> None:
    """It is a copy."""
    index: Index[str] = Index()
    for session in [some(str(number)) for number in range(5)]:
        index.add("a", session)
    for session in index.find("a"):
        index.discard("a", session)
    assert index.find("a") == ()
