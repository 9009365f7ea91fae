"""The keys of an issuer in time: when they are fetched, who waits for that, and what is answered meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from structlog.testing import capture_logs

from server.adapters.tokens.issuer_keys import ASK_S, RETRY_S, STALE_S, WAIT_S, IssuerKeys
from server.adapters.tokens.jwks import JwksRefused
from server.adapters.tokens.jwks_fetch import Fetched
from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.domain.errors import MaruError, Unauthenticated, Unavailable
from server.domain.identity import Identity
from server.domain.outcomes import JwksFetch, KeyOrigin
from tests.doubles.json_web_tokens import NOW, RAW_HEADER, pem, signed, token
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.virtual_time import turns, virtually
from tests.harness.issuer import Jwk, PrivateKey, document, jwk, sign

A, B, C = (ed25519.Ed25519PrivateKey.generate() for _ in range(3))
RSA = rsa.generate_private_key(65_537, 2_048)
RARELY = 1e6
"""Of tokens here: far beyond the times of the tests, which move no wall clock."""


class Stage:
    """An issuer without a network, its keys, and a verifier that has them."""

    def __init__(self, *keys: Jwk) -> None:
        self.document: bytes | Exception = document(*keys)
        self.max_age_s: int | None = None
        self.slow_s = 0.0
        self.fetches: list[float] = []
        self._asked = asyncio.Event()  # a fetch began
        self.withdrawn: list[frozenset[str]] = []
        self.metrics = RecordingMetrics()
        self._loop = asyncio.get_running_loop()
        self.keys = IssuerKeys(self._fetch, self._loop.time, Random(7), self.metrics)
        self.keys.hear(self._hear)
        self.verifier = JwtVerifier(self.keys, now_s=lambda: NOW, metrics=self.metrics)

    def publish(self, *keys: Jwk) -> None:
        """Answer with these keys from now on."""
        self.document = document(*keys)

    def fail(self, outcome: JwksFetch = JwksFetch.UNREACHABLE) -> None:
        """Answer with nothing from now on."""
        self.document = JwksRefused(outcome, "down")

    async def verify(self, key: PrivateKey, kid: str | None) -> Identity:
        """Verify a token."""
        return await self.verifier.verify(sign(key, kid, exp=NOW + RARELY))

    async def refusal(self, key: PrivateKey, kid: str | None) -> MaruError:
        """Why a token is refused."""
        with pytest.raises(MaruError) as refused:
            await self.verify(key, kid)
        return refused.value

    async def until(self, moment: float) -> None:
        """Let the time pass."""
        await asyncio.sleep(moment - self._loop.time())

    async def next_fetch(self) -> float:
        """Wait for a fetch; return its time."""
        self._asked.clear()
        await self._asked.wait()
        return self.fetches[-1]

    async def _fetch(self) -> Fetched:
        self.fetches.append(self._loop.time())
        self._asked.set()
        await asyncio.sleep(self.slow_s)
        if isinstance(self.document, Exception):
            raise self.document
        return Fetched(self.document, self.max_age_s)

    async def _hear(self, withdrawn: frozenset[str]) -> None:
        self.withdrawn.append(withdrawn)


@asynccontextmanager
async def stage(*keys: Jwk) -> AsyncIterator[Stage]:
    """A stage whose keys are kept up to date."""
    made = Stage(*keys)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.keys.run())
        await turns(3)
        yield made
        running.cancel()


def played(scenario: Any) -> Any:
    """A test that takes no time."""

    def test() -> None:
        made: Coroutine[Any, Any, None] = scenario()
        virtually(lambda: made)

    test.__doc__ = scenario.__doc__
    return test


@played
async def test_the_kid_names_the_key() -> None:
    """Each key verifies its own tokens, by its own algorithm; each is counted; the key is named in the identity."""
    async with stage(jwk(A, "a"), jwk(RSA, "r")) as scene:
        first, second = await scene.verify(A, "a"), await scene.verify(RSA, "r")
        assert first.key_id != second.key_id
        assert None not in (first.key_id, second.key_id)
        assert scene.metrics.of("token_verified") == [(KeyOrigin.JWKS,)] * 2
        assert isinstance(await scene.refusal(B, "a"), Unauthenticated)
        assert "expected RS256" in str(await scene.refusal(A, "r"))
        assert "has several keys" in str(await scene.refusal(A, None))
        assert scene.fetches == [0.0]


@played
async def test_a_single_key_needs_no_kid() -> None:
    """The set has no other. A key that takes its place is good at once, the former until it is withdrawn."""
    async with stage(jwk(A, "a")) as scene:
        assert (await scene.verify(A, None)).user == "alice"
        assert isinstance(await scene.refusal(B, None), Unauthenticated)
        scene.publish(jwk(B, "b"))
        await scene.until(300.0)
        assert (await scene.verify(B, None)).user == "alice"
        assert (await scene.verify(A, None)).user == "alice"
        await scene.until(380.0)
        assert isinstance(await scene.refusal(A, None), Unauthenticated)


@played
async def test_the_key_decides_on_the_algorithm() -> None:
    """HS256 by the public key's text, `none`, and PS256 by the right key are refused, whatever the token says."""
    async with stage(jwk(RSA, "r")) as scene:
        header = b'{"alg":"HS256","kid":"r"}'
        body = b'{"sub":"alice","exp":1800000060}'
        for text in (
            signed(header, body, pem(RSA)),
            signed(RAW_HEADER, body, pem(RSA)),
            token({"alg": "none", "kid": "r"}),
            token({"alg": "PS256", "kid": "r"}),
        ):
            with pytest.raises(Unauthenticated, match="expected RS256"):
                await scene.verifier.verify(text)


@played
async def test_fetched_again_in_the_background() -> None:
    """Every 300 s or up to a fifth earlier; by the `max-age` of the answer within its bounds."""
    async with stage(jwk(A, "a")) as scene:
        for max_age_s, least, most in ((None, 240, 300), (0, 48, 60), (900, 720, 900), (999_999, 2_880, 3_600)):
            scene.max_age_s = max_age_s
            began = await scene.next_fetch()
            assert least <= await scene.next_fetch() - began <= most


@played
async def test_a_new_key_is_fetched_once_for_all_who_wait() -> None:
    """Tokens of old and new keys are good; 100 clients with the new key cost one fetch, and wait until it is over."""
    async with stage(jwk(A, "a")) as scene:
        scene.publish(jwk(A, "a"), jwk(B, "b"))
        scene.slow_s = 1.0
        assert scene.verifier.verify_at_once(sign(B, "b", exp=NOW + RARELY)) is None
        found = await asyncio.gather(*[scene.verify(B, "b") for _ in range(100)])
        assert {identity.user for identity in found} == {"alice"}
        assert scene.fetches == [0.0, 0.0]
        assert (await scene.verify(A, "a")).user == "alice"
        assert scene.verifier.verify_at_once(sign(B, "b", exp=NOW + RARELY)) is not None


@played
async def test_a_flood_of_invented_names() -> None:
    """10,000 within 10 s are one fetch: those who waited for it are `unauthenticated`, the others are told to come back
    just when the next fetch may be."""
    async with stage(jwk(A, "a")) as scene:
        first = await asyncio.gather(*[scene.refusal(B, f"k{number}") for number in range(100)])
        assert {error.code for error in first} == {"unauthenticated"}
        for number in range(99):
            await scene.until(number * 0.1)
            for each in range(100):
                error = await scene.refusal(B, f"n{number}.{each}")
                assert isinstance(error, Unavailable)
                assert error.retry_after_ms == pytest.approx((ASK_S - number * 0.1) * 1_000, abs=1)
        assert len(scene.fetches) == 2
        assert (await scene.verify(A, "a")).user == "alice"
        await scene.until(ASK_S)
        assert isinstance(await scene.refusal(B, "last"), Unauthenticated)
        assert len(scene.fetches) == 3


@played
async def test_a_fresh_key_is_taken_within_ten_seconds() -> None:
    """Also while somebody floods with invented names."""
    async with stage(jwk(A, "a")) as scene:
        await scene.refusal(C, "invented")
        scene.publish(jwk(A, "a"), jwk(B, "b"))
        assert isinstance(await scene.refusal(B, "b"), Unavailable)
        await scene.until(ASK_S)
        await asyncio.gather(*[scene.refusal(C, f"k{number}") for number in range(100)], scene.verify(B, "b"))
        assert len(scene.fetches) == 3


@played
async def test_names_that_no_key_can_have() -> None:
    """Are refused without a fetch."""
    async with stage(jwk(A, "a")) as scene:
        for kid in ("", "x" * 257, "a\nb", "\u202e", "\0"):
            error = await scene.refusal(B, kid)
            assert isinstance(error, Unauthenticated)
            assert str(error) == "the issuer has no key with the token's 'kid'"
        assert scene.fetches == [0.0]


@played
async def test_an_issuer_that_is_away() -> None:
    """Known keys are good for a day from the last fetch; an unknown key is `unavailable`, at once and with one fetch in
    10 s; then all are, until the issuer is back."""
    async with stage(jwk(A, "a")) as scene:
        scene.fail()
        assert isinstance(await scene.refusal(B, "b"), Unavailable)
        for moment in (0.0, 5.0, 9.9):
            await scene.until(moment)
            assert isinstance(await scene.refusal(B, "b"), Unavailable)
        assert len(scene.fetches) == 2
        assert scene.metrics.of("jwks_fetched") == [(JwksFetch.OK,), (JwksFetch.UNREACHABLE,)]
        await scene.until(STALE_S)
        assert (await scene.verify(A, "a")).user == "alice"
        assert scene.keys.age_s == STALE_S
        assert all(
            later - former >= RETRY_S * 0.8 for former, later in zip(scene.fetches[1:], scene.fetches[2:], strict=False)
        )
        await scene.until(STALE_S + 0.1)
        assert isinstance(await scene.refusal(A, "a"), Unavailable)
        assert scene.keys.good == {}
        scene.publish(jwk(A, "a"))
        await scene.until(STALE_S + RETRY_S)
        assert (await scene.verify(A, "a")).user == "alice"
        assert scene.withdrawn == []


@played
async def test_an_issuer_that_is_slow() -> None:
    """Who waits, waits less than the deadline of a command; a key that comes later is there for the next."""
    async with stage(jwk(A, "a")) as scene:
        scene.publish(jwk(B, "b"))
        scene.slow_s = 1.9
        began = asyncio.get_running_loop().time()
        assert isinstance(await scene.refusal(B, "b"), Unavailable)
        assert asyncio.get_running_loop().time() - began == WAIT_S
        await scene.until(2.0)
        assert (await scene.verify(B, "b")).user == "alice"


@played
async def test_a_client_that_goes_away_takes_nobody_along() -> None:
    """Others wait on for the same fetch."""
    async with stage(jwk(A, "a")) as scene:
        scene.publish(jwk(B, "b"))
        scene.slow_s = 1.0
        async with asyncio.TaskGroup() as tasks:
            gone, stays = tasks.create_task(scene.verify(B, "b")), tasks.create_task(scene.verify(B, "b"))
            await turns(3)
            gone.cancel()
        assert stays.result().user == "alice"
        assert len(scene.fetches) == 2


@played
async def test_before_the_first_keys() -> None:
    """Every token is `unavailable`; the issuer is asked again within seconds; then there are keys."""
    made = Stage(jwk(A, "a"))
    made.fail()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.keys.run())
        await turns(3)
        assert isinstance(await made.refusal(A, "a"), Unavailable)
        assert isinstance(await made.refusal(A, None), Unavailable)
        await made.until(60.0)
        assert not made.keys.first.is_set()
        assert made.keys.age_s == 60.0
        assert len(made.fetches) > 8
        made.publish(jwk(A, "a"))
        await made.keys.first.wait()
        assert asyncio.get_running_loop().time() < 68.0
        assert (await made.verify(A, "a")).user == "alice"
        running.cancel()


@played
async def test_a_withdrawn_key() -> None:
    """Its remembered tokens are refused, also those that were good a moment ago, without a fetch; who has to end its
    sessions hears its id."""
    async with stage(jwk(A, "a"), jwk(B, "b")) as scene:
        await scene.until(10.0)
        id = (await scene.verify(A, "a")).key_id
        scene.publish(jwk(B, "b"))
        await scene.until(300.0)
        assert (await scene.verify(A, "a")).key_id == id
        await scene.until(380.0)
        assert scene.withdrawn == [frozenset({id})]
        count = len(scene.fetches)
        assert isinstance(await scene.refusal(A, "a"), Unauthenticated)
        assert (await scene.verify(B, "b")).user == "alice"
        assert len(scene.fetches) == count


@played
async def test_a_set_of_no_use_withdraws_nothing() -> None:
    """Garbage, no keys, and a fault of our own: the keys of before go on."""
    async with stage(jwk(A, "a")) as scene:
        bad: tuple[bytes | Exception, ...] = (b"<html>", document(), b'{"keys":7}', ZeroDivisionError("a bug"))
        with capture_logs() as lines:
            for number, answer in enumerate(bad):
                scene.document = answer
                await scene.until(11.0 * (number + 1))
                assert isinstance(await scene.refusal(B, "b"), Unavailable)
        assert (await scene.verify(A, "a")).user == "alice"
        outcomes = [JwksFetch.MALFORMED, JwksFetch.NO_KEYS, JwksFetch.MALFORMED, JwksFetch.MALFORMED]
        assert scene.metrics.of("jwks_fetched")[1:] == [(outcome,) for outcome in outcomes]
        assert [line["event"] for line in lines].count("jwks.failed") == 4
        assert [line["event"] for line in lines].count("jwks.fault") == 1


@played
async def test_keys_that_are_left_out_are_told_of_once() -> None:
    """Until they are others."""
    with capture_logs() as lines:
        async with stage(jwk(A, "a"), {"kty": "oct", "kid": "o", "k": "AAAA"}) as scene:
            await scene.until(2_000.0)
    told = [line for line in lines if line["event"] == "jwks.skipped"]
    assert [line["problems"] for line in told] == [["key 2: its 'kty' is none of RSA, EC and OKP"]]
    assert [line["keys"] for line in lines if line["event"] == "jwks.changed"] == [1]
