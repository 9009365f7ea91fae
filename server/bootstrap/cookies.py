"""The affinity cookies of a deployment, with a key that its replicas share and nobody else knows."""

from collections.abc import Awaitable, Callable

from server.domain.affinity import AffinityCookies, derive_key
from server.settings.model import Settings


class SharedCookies:
    """The cookies. Their key comes from the secret of the cluster or of tokens.

    If the settings have a public key only, it comes from the store: `find_secret` returns random bytes that all
    replicas of the store share, or raises `Unavailable`.
    """

    def __init__(self, settings: Settings, find_secret: Callable[[], Awaitable[bytes]]) -> None:
        self._find_secret = find_secret
        self._cookies: AffinityCookies | None = None
        secret = settings.cluster_secret or settings.jwt_secret
        if secret is not None:
            self._cookies = AffinityCookies(derive_key(secret.get_secret_value().encode()))

    async def get(self) -> AffinityCookies:
        """Return the cookies. Raises `Unavailable` if the store is needed, and away."""
        if self._cookies is None:
            self._cookies = AffinityCookies(derive_key(await self._find_secret()))
        return self._cookies

    def is_ours(self, value: str, now_s: float) -> bool:
        """Say whether a replica has made this value; no, if the key is not known yet."""
        return self._cookies is not None and self._cookies.is_ours(value, now_s)
