"""Slow mode: who waits, for how long, and who does not."""

import pytest

from server.application.limits.slow_mode import SlowMode
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.identity import Action, CompiledGrants, Identity, UserId
from server.domain.rules import Rule, Rules

SLOW, FAST = ChannelName("room:slow"), ChannelName("room:fast")

ALICE, BOB = (Identity(UserId(name), None, CompiledGrants({"*": frozenset({Action.SEND})}), 0) for name in "ab")
MODERATOR = Identity(UserId("m"), None, CompiledGrants({"*": frozenset({Action.SEND, Action.MODERATE})}), 0)


class Desk:
    """A slow mode of 5 s, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.mode = SlowMode(Rules({"room:slow": Rule(5.0), "room:*": Rule()}), lambda: self.now)

    def wait_ms(self, identity: Identity, key: str | None = None, channel: ChannelName = SLOW) -> int:
        """Send, and return for how long the user has to wait; 0 if the message is taken."""
        try:
            self.mode.take(identity, channel, key)
        except RateLimited as error:
            return error.retry_after_ms or 0
        return 0


@pytest.fixture
def desk() -> Desk:
    """Nobody has sent anything."""
    return Desk()


def test_a_user_waits_between_two_messages(desk: Desk) -> None:
    """Exactly as long as the rule and the refusal say; another user does not, nor anybody elsewhere."""
    assert desk.wait_ms(ALICE) == 0
    desk.now += 1.0
    assert desk.wait_ms(ALICE) in (4_000, 4_001)
    assert desk.wait_ms(BOB) == 0
    assert [desk.wait_ms(ALICE, channel=FAST) for _ in range(9)] == [0] * 9
    desk.now += 3.98
    assert desk.wait_ms(ALICE) in (20, 21)
    desk.now += 0.021
    assert desk.wait_ms(ALICE) == 0


def test_a_moderator_does_not_wait(desk: Desk) -> None:
    """However many messages."""
    assert [desk.wait_ms(MODERATOR) for _ in range(9)] == [0] * 9


def test_a_repeated_message_is_not_refused(desk: Desk) -> None:
    """It has the key of the last; another key, or none, waits."""
    assert desk.wait_ms(ALICE, "k1") == 0
    assert desk.wait_ms(ALICE, "k1") == 0
    assert desk.wait_ms(ALICE, "k2") > 0
    assert desk.wait_ms(BOB, "k1") == 0
    assert desk.wait_ms(BOB) > 0


def test_a_message_that_was_not_written_does_not_count(desk: Desk) -> None:
    """The user may send at once."""
    for key in (None, "k"):
        assert desk.wait_ms(ALICE, key) == 0
        desk.mode.give_back(ALICE, SLOW, key)
    assert desk.wait_ms(ALICE, "other") == 0
    assert desk.wait_ms(ALICE, "k") > 0


def test_forgetting_changes_nothing(desk: Desk) -> None:
    """A user that has to wait is remembered, others are not."""
    desk.wait_ms(ALICE, "k1")
    desk.now += 3.0
    desk.wait_ms(BOB, "k2")
    desk.now += 2.5
    desk.mode.sweep()
    assert desk.wait_ms(BOB, "k2") == 0
    assert desk.wait_ms(BOB) > 0
    assert desk.wait_ms(ALICE, "k3") == 0


def test_a_refusal_names_slow_mode(desk: Desk) -> None:
    """And the channel, for people."""
    desk.wait_ms(ALICE)
    with pytest.raises(RateLimited, match="'room:slow' is in slow mode: a message every 5 s") as refused:
        desk.mode.take(ALICE, SLOW, None)
    assert refused.value.scope == "slow_mode"
