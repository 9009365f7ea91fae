"""Keys of backends: found by their text alone, and replaced at once."""

from server.domain.backends import ApiKey, ApiKeys, Scope, digest, on_behalf_of
from server.domain.channels import ChannelName
from server.domain.identity import Action, Author, UserId, allows

SHOP = ApiKey("shop", digest("a-key-of-the-shop"), frozenset({Scope.PUBLISH}))
DESK = ApiKey("desk", digest("a-key-of-the-desk"), frozenset(Scope))


def test_a_key_is_found_by_its_text() -> None:
    """Each by its own; nothing else finds one, and without keys nothing does."""
    keys = ApiKeys([SHOP, DESK])
    assert len(keys) == 2
    assert keys.find("a-key-of-the-shop") is SHOP
    assert keys.find("a-key-of-the-desk") is DESK
    assert keys.find("a-key-of-the-des") is None
    assert keys.find("") is None
    assert ApiKeys().find("a-key-of-the-shop") is None


def test_keys_are_replaced() -> None:
    """Those that are given hold from then on, and no others."""
    keys = ApiKeys([SHOP])
    keys.replace([DESK])
    assert keys.find("a-key-of-the-shop") is None
    assert keys.find("a-key-of-the-desk") is DESK


def test_a_backend_may_do_everything_as_a_user() -> None:
    """In every channel, whatever the user's own token grants; the author is the user."""
    alice = Author(UserId("alice"), "Alice")
    identity = on_behalf_of(alice)
    assert identity.author == alice
    assert all(allows(identity.grants, action, ChannelName("room:42")) for action in Action)
