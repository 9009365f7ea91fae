"""Typing is told at a pace, to few, and ends in time."""

from dataclasses import dataclass

import pytest

from server.application.people.attending import Attendants
from server.application.people.typing import CROSSED_S, MAX_REMEMBERED, MAX_TYPISTS, Typing
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.errors import NotJoined, PermissionDenied
from server.domain.identity import SessionId, UserId
from server.domain.limits import TYPING_EXPIRES_MS, TYPING_MS
from server.domain.presence import Departure
from server.domain.rules import Rule, Rules
from server.domain.signals import TypingChanged
from tests.doubles.people import People
from tests.doubles.samples import ROOM, event, identity, unknown
from tests.doubles.signals import DirectSignals

TYPING_S, EXPIRES_S = TYPING_MS / 1_000, TYPING_EXPIRES_MS / 1_000


@dataclass
class Stage:
    """Two replicas that hear each other, and a clock."""

    now: float = 100.0

    def __post_init__(self) -> None:
        self.signals, self.here, self.there = DirectSignals(), People(), People()
        rules = Rules({"room:*": Rule(), "small:*": Rule(typing=2), "silent:*": Rule(typing=0)})
        self.typing, self.over_there = (
            Typing(self.signals, people.transport, people.company, rules, lambda: self.now)
            for people in (self.here, self.there)
        )
        for each in (self.typing, self.over_there):
            self.signals.on(TypingChanged, each.heard)

    def start(self, session: Session, channel: ChannelName = ROOM) -> bool:
        """The session's user types."""
        return self.typing.start(session.id, session.identity, channel)

    def stop(self, session: Session, channel: ChannelName = ROOM) -> bool:
        """The session's user has stopped."""
        return self.typing.stop(session.id, session.identity, channel)


def types(user: str = "alice", channel: ChannelName = ROOM) -> TypingChanged:
    """What is told of a user who types."""
    return TypingChanged(channel, UserId(user), typing=True)


def stops(user: str = "alice", channel: ChannelName = ROOM) -> TypingChanged:
    """What is told of a user who has stopped."""
    return TypingChanged(channel, UserId(user), typing=False)


@pytest.fixture
def stage() -> Stage:
    """Nobody is there."""
    return Stage()


def test_the_others_are_told_and_the_user_is_not(stage: Stage) -> None:
    """On each replica, and none of the user's own sessions."""
    alice, _ = stage.here.come("alice"), stage.here.come("alice/phone")
    stage.here.come("bob")
    for who in ("carol", "alice/desk"):
        stage.there.come(who)
    assert stage.start(alice)
    assert stage.stop(alice)
    assert stage.here.heard("bob") == stage.there.heard("carol") == [types(), stops()]
    assert stage.here.heard("alice") == stage.here.heard("alice/phone") == stage.there.heard("alice/desk") == []


def test_twenty_starts_a_second_are_told_once_in_three_seconds(stage: Stage) -> None:
    """However often a client says so."""
    alice, began = stage.here.come("alice"), stage.now
    stage.here.come("bob")
    told = []
    for number in range(20 * 7):
        stage.now = began + number / 20
        if stage.start(alice):
            told.append(stage.now - began)
    assert told == [0.0, 3.0, 6.0]
    assert stage.here.heard("bob") == [types()] * 3


def test_starting_and_stopping_in_turns_is_told_once(stage: Stage) -> None:
    """A stop ends what was told; the next start waits."""
    alice = stage.here.come("alice")
    stage.here.come("bob")
    for _ in range(10):
        stage.start(alice)
        stage.stop(alice)
    assert stage.here.heard("bob") == [types(), stops()]
    stage.now += TYPING_S
    assert stage.start(alice)


def test_a_stop_without_a_start_is_not_told(stage: Stage) -> None:
    """Nor one that comes when the receivers have forgotten the start."""
    alice = stage.here.come("alice")
    assert not stage.stop(alice)
    stage.start(alice)
    stage.now += EXPIRES_S
    assert not stage.stop(alice)


def test_typing_needs_the_join_and_the_grant_to_send(stage: Stage) -> None:
    """The errors of the protocol."""
    alice = stage.here.come("alice", channel=None)
    with pytest.raises(NotJoined):
        stage.typing.check(alice.id, alice.identity, ROOM)
    reader = stage.here.come("reader", as_user=identity("reader", {"room:*": ["join"]}))
    with pytest.raises(PermissionDenied):
        stage.typing.check(reader.id, reader.identity, ROOM)
    writer = stage.here.come("writer")
    stage.typing.check(writer.id, writer.identity, ROOM)


@pytest.mark.parametrize(("channel", "told"), [("small:a", True), ("small:b", False), ("silent:a", False)])
def test_large_channels_are_told_nothing(stage: Stage, channel: str, told: bool) -> None:
    """The rule says how large is small."""
    name = ChannelName(channel)
    alice = stage.here.come("alice", name)
    stage.here.come("bob", name)
    if channel == "small:b":
        stage.here.come("carol", name)
    assert stage.start(alice, name) == told
    assert stage.here.heard("bob") == [types(channel=name)] * told


def test_a_replica_with_too_many_members_tells_none_of_them(stage: Stage) -> None:
    """Although the other replica has few."""
    room = ChannelName("small:a")
    alice = stage.here.come("alice", room)
    for who in ("bob", "carol", "dave"):
        stage.there.come(who, room)
    assert stage.start(alice, room)
    assert stage.there.heard("bob") == []


def test_five_are_told_at_a_time(stage: Stage) -> None:
    """The sixth waits until one of them has stopped; one who types already does not."""
    stage.here.come("reader")
    typists = [stage.here.come(f"typist{number}") for number in range(MAX_TYPISTS + 1)]
    assert [stage.start(typist) for typist in typists] == [True] * MAX_TYPISTS + [False]
    stage.now += TYPING_S
    assert stage.start(typists[0])
    assert stage.stop(typists[1])
    assert stage.start(typists[-1])


def test_a_replica_that_hears_of_more_tells_of_five(stage: Stage) -> None:
    """Two replicas may each have let some begin at the same time."""
    stage.there.come("reader")
    stage.signals.held = []
    for number in range(MAX_TYPISTS + 2):
        stage.signals.publish(types(f"typist{number}"))
    stage.signals.let_go()
    assert len(stage.there.heard("reader")) == MAX_TYPISTS


def test_those_who_begin_and_stop_are_remembered_up_to_a_bound(stage: Stage) -> None:
    """So that a large channel costs no more memory."""
    typists = [stage.here.come(f"typist{number}") for number in range(MAX_REMEMBERED + 1)]
    for typist in typists[:-1]:
        assert stage.start(typist)
        assert stage.stop(typist)
    assert not stage.start(typists[-1])


def test_the_message_ends_it_on_every_replica(stage: Stage) -> None:
    """As it is delivered there, without a signal; another event, or another author, ends nothing."""
    alice = stage.here.come("alice")
    stage.here.come("bob")
    stage.there.come("carol")
    stage.typing.delivered(event(1))  # nobody types
    stage.start(alice)
    for typing in (stage.typing, stage.over_there):
        typing.delivered(unknown(1))
        typing.delivered(event(1, channel=ChannelName("room:2")))
        typing.delivered(event(2))
        typing.delivered(event(3))
    assert stage.here.heard("bob") == stage.there.heard("carol") == [types(), stops()]
    assert stage.signals.published == [types()]
    assert not stage.stop(alice)


def test_a_start_that_the_message_overtakes_is_not_told(stage: Stage) -> None:
    """Its user has stopped; one that begins again is told."""
    alice = stage.here.come("alice")
    stage.here.come("bob")
    stage.signals.held = []
    stage.start(alice)
    stage.typing.delivered(event(1))
    stage.signals.let_go()
    assert stage.here.heard("bob") == [stops()]
    stage.now += CROSSED_S
    stage.signals.publish(types())
    assert stage.here.heard("bob") == [stops(), types()]


def test_it_ends_with_the_session_that_types(stage: Stage) -> None:
    """Not with another session of the user, and not where the user types on another replica."""
    alice, phone = stage.here.come("alice"), stage.here.come("alice/phone")
    stage.here.come("bob")
    stage.start(alice)
    stage.start(phone)  # swallowed, but it is the phone that types now
    stage.typing.left(alice.id, ROOM)
    stage.over_there.left(SessionId("somebody"), ROOM)
    assert stage.here.heard("bob") == [types()]
    stage.typing.left(phone.id, ROOM)
    stage.typing.left(phone.id, ROOM)
    stage.typing.left(phone.id, ChannelName("room:2"))
    assert stage.here.heard("bob") == [types(), stops()]


def test_it_ends_with_the_session(stage: Stage) -> None:
    """In all channels that it was in."""
    alice = stage.here.come("alice")
    stage.here.come("bob")
    attendants = Attendants()
    attendants.add(stage.typing)
    attendants.entered(alice.id, alice.identity, ROOM, True)
    stage.start(alice)
    attendants.ended(alice.id, [ChannelName("room:2"), ROOM], Departure.LOST)
    attendants.left(alice.id, ROOM)
    assert stage.here.heard("bob") == [types(), stops()]


def test_a_start_after_an_end_does_not_bring_it_back(stage: Stage) -> None:
    """A swallowed start of a user who has stopped names no session that types."""
    alice = stage.here.come("alice")
    stage.start(alice)
    stage.stop(alice)
    assert not stage.start(alice)
    stage.typing.left(alice.id, ROOM)
    assert stage.signals.published == [types(), stops()]


def test_signals_of_channels_without_members_are_passed_over(stage: Stage) -> None:
    """And so is an end of which no beginning was heard."""
    stage.signals.publish(types())
    stage.there.come("carol")
    stage.signals.publish(stops())
    assert stage.there.heard("carol") == []


def test_nothing_is_kept_of_those_who_have_stopped(stage: Stage) -> None:
    """A sweep forgets them when the receivers have, and a channel with its last."""
    alice, bob = stage.here.come("alice"), stage.here.come("bob")
    stage.start(alice)
    stage.now += EXPIRES_S / 2
    stage.start(bob)
    stage.now += EXPIRES_S / 2
    stage.typing.sweep()
    assert not stage.stop(alice)
    assert stage.stop(bob)
    stage.now += EXPIRES_S
    stage.typing.sweep()
    assert stage.typing._typists == {}  # noqa: SLF001  # that nothing is left is the fact
