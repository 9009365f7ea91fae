"""Denials: nothing is granted to a user in a channel, for a time."""

from dataclasses import replace

import pytest

from server.application.outside.denials import Denials
from server.domain.channels import ChannelName
from server.domain.control import Denial
from server.domain.errors import PermissionDenied
from server.domain.identity import Action, UserId
from server.wire.words import timestamp
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity

ALICE = identity("alice")
HALL = ChannelName("room:2")
DENIAL = Denial(ROOM, UserId("alice"), NOW_MS + HOUR_MS)


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def denials(clock: Clock) -> Denials:
    """Alice may not be in the room."""
    denials = Denials(clock)
    denials.apply(DENIAL)
    return denials


@pytest.mark.parametrize("action", Action)
def test_it_is_as_if_nothing_were_granted(denials: Denials, action: Action) -> None:
    """To this user in this channel, whatever the action; the refusal says until when."""
    with pytest.raises(PermissionDenied) as refused:
        denials.authorize(ALICE, action, ROOM)
    assert refused.value.details == {"action": action, "channel": ROOM, "denied_until": timestamp(DENIAL.expires_at)}
    assert not denials.allow(ALICE, action, ROOM)
    for identity_, channel in ((ALICE, HALL), (identity("bob"), ROOM)):
        denials.authorize(identity_, action, channel)
        assert denials.allow(identity_, action, channel)


def test_grants_are_needed_all_the_same(denials: Denials) -> None:
    """Nothing is allowed because it is not denied."""
    nobody = identity("bob", grants={})
    assert not denials.allow(nobody, Action.JOIN, ROOM)
    with pytest.raises(PermissionDenied, match="no grant"):
        denials.authorize(nobody, Action.JOIN, ROOM)


def test_until_it_ends(denials: Denials, clock: Clock) -> None:
    """By itself; a sweep forgets it."""
    clock.now = NOW_MS + HOUR_MS - 1
    denials.sweep()
    assert not denials.allow(ALICE, Action.SEND, ROOM)
    clock.now = NOW_MS + HOUR_MS
    assert denials.allow(ALICE, Action.SEND, ROOM)
    assert denials.until
    denials.sweep()
    assert not denials.until


def test_a_later_denial_counts(denials: Denials) -> None:
    """Also one that is over: it ends the denial. Ending none is no error."""
    denials.apply(replace(DENIAL, expires_at=NOW_MS))
    denials.apply(replace(DENIAL, expires_at=NOW_MS))
    assert not denials.until


async def test_all_are_replaced(denials: Denials) -> None:
    """By those of the store, in the same object: publishers hold on to it."""
    until = denials.until
    await denials.replace([replace(DENIAL, channel=HALL)])
    assert denials.allow(ALICE, Action.JOIN, ROOM)
    assert not denials.allow(ALICE, Action.JOIN, HALL)
    assert denials.until is until


def test_nothing_is_denied_at_first() -> None:
    """For parts that are used without denials."""
    assert Denials().allow(ALICE, Action.JOIN, ROOM)
    Denials().apply(DENIAL)
