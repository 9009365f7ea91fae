"""The key of affinity cookies: a secret that replicas share, whatever tokens are checked with."""

import pytest
from pydantic import SecretStr

from server.bootstrap.cookies import SharedCookies
from server.domain.errors import Unavailable
from server.settings.model import Settings

NOW = 1_764_381_600.0
PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
SECRET, CLUSTER = (
    SecretStr("a-secret-of-more-than-32-bytes-0123456789"),
    SecretStr("another-secret-of-32-bytes-0123456789"),
)


class Store:
    """The secret of a store, which may be out of reach."""

    def __init__(self, secret: bytes = b"of the store") -> None:
        self.secret = secret
        self.away = False

    async def find(self) -> bytes:
        """Return it."""
        if self.away:
            raise Unavailable("away")
        return self.secret


async def _value(settings: Settings, store: Store) -> str:
    return (await SharedCookies(settings, store.find).get()).value("alice", NOW)


def _settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


async def test_replicas_share_the_key() -> None:
    """By their secret, whatever their stores are; two deployments do not."""
    mine = _settings(jwt_secret=SECRET)
    assert await _value(mine, Store(b"a")) == await _value(mine, Store(b"b"))
    assert await _value(mine, Store()) != await _value(_settings(jwt_secret=CLUSTER), Store())


async def test_the_secret_of_the_cluster_comes_first() -> None:
    """So the secret of tokens can be changed, and the cookies stay."""
    cluster = await _value(_settings(jwt_secret=SECRET, cluster_secret=CLUSTER), Store())
    assert cluster == await _value(_settings(jwt_public_key=PEM, cluster_secret=CLUSTER), Store())
    assert cluster != await _value(_settings(jwt_secret=SECRET), Store())


async def test_a_public_key_is_no_secret() -> None:
    """Then the key comes from the store: nobody can compute a cookie from what is public."""
    public = _settings(jwt_public_key=PEM)
    assert await _value(public, Store(b"a")) == await _value(public, Store(b"a"))
    assert await _value(public, Store(b"a")) != await _value(public, Store(b"b"))


async def test_a_store_that_is_away() -> None:
    """There is no cookie, and none is known, until the store answers; it is asked once."""
    store = Store()
    cookies = SharedCookies(_settings(jwt_public_key=PEM), store.find)
    value = await _value(_settings(jwt_public_key=PEM), store)
    store.away = True
    with pytest.raises(Unavailable):
        await cookies.get()
    assert not cookies.is_ours(value, NOW)
    store.away = False
    await cookies.get()
    assert cookies.is_ours(value, NOW)
    store.away = True
    await cookies.get()
