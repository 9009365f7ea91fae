"""The affinity cookie's value: of the user, the key and the month, recognized by every server with the key."""

from hypothesis import given
from hypothesis import strategies as st

from server.domain.affinity import PERIOD_S, VALUE_CHARS, AffinityCookies, derive_key

OURS = AffinityCookies(derive_key(b"0123456789abcdef0123456789abcdef"))
NOW = 1_764_381_600.0


@given(st.text(max_size=128), st.binary(min_size=1), st.floats(0, 1e11))
def test_the_value_is_of_the_key_and_the_user(user: str, secret: bytes, now_s: float) -> None:
    """Any user under any key gets a sound cookie, which is known to servers with the key and to no others."""
    user = user.encode("utf-8", "replace").decode()
    cookies = AffinityCookies(derive_key(secret))
    value = cookies.value(user, now_s)
    assert len(value) == VALUE_CHARS
    assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert AffinityCookies(derive_key(secret)).value(user, now_s) == value
    assert cookies.is_ours(value, now_s)
    other = AffinityCookies(derive_key(secret + b"x"))
    assert other.value(user, now_s) != value
    assert not other.is_ours(value, now_s)
    assert derive_key(secret) != secret


def test_a_value_follows_nobody_for_long() -> None:
    """It changes each period. The one before still counts, older and later ones do not."""
    value = OURS.value("alice", NOW)
    assert OURS.value("alice", NOW + PERIOD_S) != value
    assert [OURS.is_ours(value, NOW + periods * PERIOD_S) for periods in (-1, 0, 1, 2)] == [False, True, True, False]


@given(st.text(max_size=60))
def test_what_nobody_gave(text: str) -> None:
    """Values that a client makes up are not ours, nor those of two users put together."""
    assert not OURS.is_ours(text, NOW)
    alice, bob = OURS.value("alice", NOW), OURS.value("bob", NOW)
    assert not OURS.is_ours(alice[:22] + bob[22:], NOW)
    assert not OURS.is_ours(alice[:-1], NOW)
    assert not OURS.is_ours(alice + "A", NOW)
