"""The keys of an issuer that publishes them (`MARU_JWT_JWKS_URL`): fetched in the background, and for a `kid` that is
not known.

An issuer that is away costs nothing while the keys are known; a flood of invented names costs it a fetch in 10 s.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

import structlog

from server.adapters.tokens import jwks
from server.adapters.tokens.jwks import JwksRefused
from server.adapters.tokens.jwks_fetch import Fetch, Fetched
from server.adapters.tokens.key_ring import WITHDRAW_S, KeyRing
from server.adapters.tokens.key_source import KeySource
from server.adapters.tokens.keys import Key
from server.domain.errors import Unauthenticated, Unavailable
from server.domain.gcra import whole_ms
from server.domain.outcomes import JwksFetch
from server.ports.metrics import SILENT
from server.ports.token_verifier import TokenMetrics

REFRESH_S = 300.0
LEAST_REFRESH_S, MOST_REFRESH_S = 60.0, 3_600.0
"""Between two fetches: if the issuer does not say, and the bounds of what it says. The wait is shortened by up to a
fifth at random, so that replicas do not ask together."""

RETRY_S = 30.0
"""After a fetch that failed, while there are keys."""

FIRST_RETRIES_S = (1.0, 2.0, 4.0, 8.0)
"""After fetches that failed, while there are none; the last wait is repeated."""

ASK_S = 10.0
"""Between two fetches for a `kid` that is not known."""

WAIT_S = 1.6
"""How long a client waits for such a fetch: less than the deadline of a command, so that the refusal says why."""

STALE_S = 24 * 3_600.0
"""Keys are good for so long after the last fetch. An outage of the issuer is over by then, or is none."""

Withdrawn = Callable[[frozenset[str]], Awaitable[None]]
"""Hear of keys, by id, that the issuer has withdrawn."""

_log = structlog.get_logger("maru.tokens")


class _Round:
    """A fetch that clients wait for."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.good = False  # whether the issuer has answered


class IssuerKeys(KeySource):
    """The keys of an issuer. `run` fetches them; nobody else does, so there is a single fetch at a time. `clock` is
    monotonic, in seconds."""

    def __init__(
        self, fetch: Fetch, clock: Callable[[], float], random: Random, metrics: TokenMetrics = SILENT
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._withdrawn: Withdrawn | None = None  # who hears of withdrawn keys
        self._ring = KeyRing()
        self.first = asyncio.Event()  # set as soon as there are keys
        self._fetched_at = clock()  # the last fetch that succeeded; until then, the start
        self._asked_at: float | None = None  # the last fetch for a `kid` that was not known
        self._interval_s = REFRESH_S
        self._failures = 0  # fetches since the last that succeeded
        self._round: _Round | None = None  # the fetch that is under way, or about to be
        self._wanted = asyncio.Event()  # a client waits for a fetch
        self._skipped: tuple[str, ...] = ()  # what was warned of

    def hear(self, withdrawn: Withdrawn) -> None:
        """Tell the listener of withdrawn keys from now on."""
        self._withdrawn = withdrawn

    @property
    def age_s(self) -> float:
        """How old the keys are; before the first fetch has succeeded, how long they have been missing."""
        return self._clock() - self._fetched_at

    @property
    def good(self) -> Mapping[str, Key]:
        """The keys whose tokens are good, by `kid`."""
        return {} if self.age_s > STALE_S else self._ring.good

    def find(self, kid: str | None, now_s: float, *, asked: bool = False) -> Sequence[Key] | None:
        good = self.good
        if kid is None and good and self._ring.single:
            return tuple(good.values())  # the key, and a key that has just gone and may come back
        if kid is None and good:
            raise Unauthenticated("the token has no 'kid', and its issuer has several keys")
        if kid is not None:
            if (key := good.get(kid)) is not None:
                return (key,)
            if asked or not jwks.is_kid(kid) or self._ring.was_withdrawn(kid):
                raise Unauthenticated("the issuer has no key with the token's 'kid'")
        if self._round is None and (wait_s := self._cooling_s()) > 0:
            problem = "the token's key is not known here, and its issuer was asked a moment ago; try again"
            raise Unavailable(problem, retry_after_ms=whole_ms(wait_s))
        return None

    def holds(self, key: Key, now_s: float) -> bool:
        return self.age_s <= STALE_S and self._ring.holds(key)

    async def ask(self) -> None:
        """Have the keys fetched, or wait for the fetch that is under way. Raises `Unavailable`."""
        if self._round is None:
            self._round, self._asked_at = _Round(), self._clock()
            self._wanted.set()
        under_way = self._round
        try:
            async with asyncio.timeout(WAIT_S):
                await under_way.over.wait()
        except TimeoutError:
            raise Unavailable("the token's key is not known here, and its issuer has not answered in time") from None
        if not under_way.good:
            raise Unavailable("the token's key is not known here, and its issuer can't be asked")

    async def run(self) -> None:
        """Fetch the keys, again and again, until cancelled."""
        while True:
            await self._refresh()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    def _cooling_s(self) -> float:
        return 0.0 if self._asked_at is None else self._asked_at + ASK_S - self._clock()

    def _pause_s(self) -> float:
        shorter = self._random.uniform(0.8, 1.0)
        if self._failures and not self.first.is_set():
            return FIRST_RETRIES_S[min(self._failures, len(FIRST_RETRIES_S)) - 1] * shorter
        if self._failures:
            return RETRY_S * shorter
        # A key that is gone is looked for once more, after just the time that makes it withdrawn.
        return WITHDRAW_S / shorter if self._ring.waits else self._interval_s * shorter

    async def _refresh(self) -> None:
        """Fetch the keys once, and tell all who wait."""
        under_way = self._round = self._round or _Round()
        self._wanted.clear()
        withdrawn: frozenset[str] = frozenset()
        try:
            withdrawn = self._take(await self._fetch())
            under_way.good = True
        except JwksRefused as refused:
            self._fail(refused)
        except Exception:  # noqa: BLE001  # no answer of an issuer may end the process
            _log.exception("jwks.fault")
            self._fail(JwksRefused(JwksFetch.MALFORMED, "a fault of the server, which is in the line before"))
        finally:
            self._round = None
            under_way.over.set()
        if withdrawn and self._withdrawn is not None:
            await self._withdrawn(withdrawn)

    def _take(self, fetched: Fetched) -> frozenset[str]:
        found, before = jwks.read(fetched.document), set(self._ring.good)
        withdrawn = self._ring.take(found.keys, self._clock())
        age_s = REFRESH_S if fetched.max_age_s is None else float(fetched.max_age_s)
        self._interval_s = min(max(age_s, LEAST_REFRESH_S), MOST_REFRESH_S)
        self._fetched_at, self._failures = self._clock(), 0
        self.first.set()
        self._metrics.jwks_fetched(JwksFetch.OK)
        self._tell(found.skipped, before, len(withdrawn))
        return withdrawn

    def _fail(self, refused: JwksRefused) -> None:
        self._failures += 1
        self._metrics.jwks_fetched(refused.outcome)
        _log.warning("jwks.failed", problem=str(refused), outcome=refused.outcome, keys=len(self.good))

    def _tell(self, skipped: tuple[str, ...], before: set[str], withdrawn: int) -> None:
        if skipped != self._skipped:
            self._skipped = skipped
            _log.warning("jwks.skipped", problems=list(skipped))
        if withdrawn or before != set(self._ring.good):
            _log.info("jwks.changed", keys=len(self._ring.good), withdrawn=withdrawn)
