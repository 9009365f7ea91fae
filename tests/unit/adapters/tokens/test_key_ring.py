"""The keys of an issuer from fetch to fetch."""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ed25519

from server.adapters.tokens import jwks
from server.adapters.tokens.key_ring import MAX_WITHDRAWN, WITHDRAW_S, KeyRing
from server.adapters.tokens.keys import Key
from tests.harness.issuer import document, jwk

PRIVATE = {name: ed25519.Ed25519PrivateKey.generate() for name in "abc"}


def keys(**named: str) -> Mapping[str, Key]:
    """Keys as they are fetched: new objects each time. `a="b"` is the key b under the name a."""
    return jwks.read(document(*[jwk(PRIVATE[key], kid) for kid, key in named.items()])).keys


def test_a_key_that_stays_is_the_same_object() -> None:
    """What was verified with it stays good."""
    ring = KeyRing()
    assert ring.take(keys(a="a"), 0.0) == frozenset()
    key = ring.good["a"]
    ring.take(keys(a="a", b="b"), 300.0)
    assert ring.good["a"] is key
    assert ring.holds(key)
    assert set(ring.good) == {"a", "b"}
    assert not ring.waits


def test_a_key_that_is_gone_is_good_until_it_is_gone_again() -> None:
    """A minute later, not before: a node of the issuer may be behind."""
    ring = KeyRing()
    ring.take(keys(a="a", b="b"), 0.0)
    gone = ring.good["a"]
    for now in (300.0, 310.0, 300.0 + WITHDRAW_S - 0.1):
        assert ring.take(keys(b="b"), now) == frozenset()
        assert ring.holds(gone)
        assert ring.waits
    assert ring.take(keys(b="b"), 300.0 + WITHDRAW_S) == {gone.id}
    assert not ring.holds(gone)
    assert set(ring.good) == {"b"}
    assert ring.was_withdrawn("a")
    assert not ring.waits


def test_a_key_that_comes_back_in_time_was_never_gone() -> None:
    """The time begins anew."""
    ring = KeyRing()
    ring.take(keys(a="a", b="b"), 0.0)
    key = ring.good["a"]
    ring.take(keys(b="b"), 10.0)
    ring.take(keys(a="a", b="b"), 60.0)
    assert not ring.waits
    assert ring.take(keys(b="b"), 80.0) == frozenset()
    assert ring.holds(key)


def test_a_withdrawn_key_may_be_published_again() -> None:
    """Its name is good again, and it is another object: nothing that was verified before is."""
    ring = KeyRing()
    ring.take(keys(a="a", b="b"), 0.0)
    key = ring.good["a"]
    ring.take(keys(b="b"), 10.0)
    ring.take(keys(b="b"), 70.0)
    ring.take(keys(a="a", b="b"), 80.0)
    assert not ring.was_withdrawn("a")
    assert not ring.holds(key)
    assert ring.good["a"].id == key.id


def test_another_key_of_the_same_name() -> None:
    """It counts at once; the former is withdrawn in its time."""
    ring = KeyRing()
    ring.take(keys(a="a"), 0.0)
    former = ring.good["a"]
    assert ring.take(keys(a="b"), 10.0) == frozenset()
    assert not ring.holds(former)
    assert ring.holds(ring.good["a"])
    assert ring.take(keys(a="b"), 70.0) == {former.id}
    assert not ring.was_withdrawn("a")


def test_few_withdrawn_names_are_remembered() -> None:
    """However many an issuer has had."""
    ring = KeyRing()
    for number in range(MAX_WITHDRAWN + 2):
        ring.take(keys(**{f"k{number}": "a"}), number * WITHDRAW_S)
        ring.take(keys(c="c"), number * WITHDRAW_S)
    ring.take(keys(c="c"), 1e9)
    assert not ring.was_withdrawn("k0")
    assert ring.was_withdrawn(f"k{MAX_WITHDRAWN + 1}")
