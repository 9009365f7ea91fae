"""Which tokens are good no longer, as a table; and which revocations are forgotten."""

from dataclasses import replace

import pytest

from server.application.outside.revoked_tokens import RevokedTokens
from server.domain.control import Revocation
from server.domain.errors import TokenRevoked
from server.domain.identity import UserId
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, identity

NOW_S = NOW_MS // 1_000
BY_USER = Revocation("1", UserId("alice"), None, NOW_MS + 700, NOW_MS + HOUR_MS)
BY_TOKEN = Revocation("2", None, "t1", NOW_MS, NOW_MS + HOUR_MS)
BAN = replace(BY_USER, id="3", ban=True)


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def revoked(clock: Clock) -> RevokedTokens:
    """Nothing is revoked yet."""
    return RevokedTokens(clock)


@pytest.mark.parametrize(
    ("revocation", "user", "token_id", "issued_at", "refused"),
    [
        (BY_USER, "alice", None, NOW_S - 1, True),
        (BY_USER, "alice", None, NOW_S, False),  # the very second: the token may have been issued behind it
        (BY_USER, "alice", None, NOW_S + 1, False),
        (BY_USER, "alice", "t1", None, True),  # it does not say
        (BY_USER, "bob", None, NOW_S - 1, False),
        (BY_TOKEN, "alice", "t1", NOW_S + 60, True),
        (BY_TOKEN, "bob", "t1", None, True),
        (BY_TOKEN, "alice", "t2", None, False),
        (BY_TOKEN, "alice", None, None, False),
        (BAN, "alice", None, NOW_S + 3_000, True),
        (BAN, "bob", None, NOW_S, False),
    ],
)
def test_the_tokens_of_a_revocation(
    revoked: RevokedTokens,
    revocation: Revocation,
    user: str,
    token_id: str | None,
    issued_at: int | None,
    refused: bool,
) -> None:
    """By user: issued in a second before, or without a time. By token: that token. A ban: all of the user's."""
    token = identity(user, token_id=token_id, issued_at=issued_at)
    assert not revoked.concern(token)
    revoked.check(token)
    revoked.add(revocation)
    assert revoked.concern(token) == refused
    if refused:
        with pytest.raises(TokenRevoked):
            revoked.check(token)
    else:
        revoked.check(token)


def test_until_it_expires(revoked: RevokedTokens, clock: Clock) -> None:
    """It concerns nothing from that moment; a sweep forgets it. One that comes too late is not taken."""
    token = identity("alice", token_id="t1")
    revoked.add(BY_USER)
    revoked.add(BY_TOKEN)
    revoked.add(replace(BAN, expires_at=NOW_MS + 2 * HOUR_MS))
    clock.now = NOW_MS + HOUR_MS
    assert revoked.concern(token)
    revoked.lift("3")
    assert not revoked.concern(token)
    assert len(revoked) == 2
    revoked.sweep()
    assert len(revoked) == 0
    revoked.add(BY_USER)
    assert len(revoked) == 0


def test_each_is_lifted_by_itself(revoked: RevokedTokens) -> None:
    """Those of the same user and of the same token stand side by side; lifting twice, or an unknown id, is no error."""
    later = replace(BY_USER, id="4", issued_before=NOW_MS + 60_000)
    for each in (BY_USER, BY_USER, later, BY_TOKEN, replace(BY_TOKEN, id="5")):
        revoked.add(each)
    assert len(revoked) == 4
    revoked.lift("4")
    revoked.lift("4")
    revoked.lift("unknown")
    assert revoked.concern(identity("alice", issued_at=NOW_S - 1))
    assert not revoked.concern(identity("alice", issued_at=NOW_S + 1))
    revoked.lift("2")
    assert revoked.concern(identity("bob", token_id="t1"))
    revoked.lift("5")
    revoked.lift("1")
    assert not revoked.concern(identity("alice", token_id="t1"))


async def test_all_are_replaced(revoked: RevokedTokens) -> None:
    """The store's take the place of those in memory; from then on tokens can be judged."""
    revoked.add(BAN)
    assert not revoked.loaded.is_set()
    await revoked.replace([BY_TOKEN])
    assert revoked.loaded.is_set()
    assert not revoked.concern(identity("alice"))
    assert revoked.concern(identity("alice", token_id="t1"))
