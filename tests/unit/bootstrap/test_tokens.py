"""What is said at the start about the tokens that are taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from pydantic import SecretStr
from structlog.testing import capture_logs

from server.adapters.clock import now_ms
from server.adapters.tokens.issuer_keys import ASK_S
from server.adapters.tokens.key_ring import WITHDRAW_S
from server.application.sessions.sessions import Sessions
from server.bootstrap.tokens import Tokens, tell_of_any_issuer
from server.domain.errors import TokenRevoked, Unauthenticated
from server.domain.identity import SessionId
from server.ports.metrics import SILENT
from server.settings.model import Settings
from tests.doubles.transport import RecordingTransport
from tests.harness.issuer import Issuer, jwk, sign

SECRET = "a-secret-of-more-than-32-bytes-0123456789"


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"jwt_secret": SECRET}, True),
        ({"jwt_secret": SECRET, "jwt_issuer": "https://login.example.com"}, False),
        ({"jwt_secret": SECRET, "jwt_audience": "chat"}, False),
        ({"dev": True}, False),
    ],
)
def test_tokens_of_any_service_are_warned_of(values: dict[str, Any], warned: bool) -> None:
    """A single line, with what to set; none where a claim is asked for, or the secret is of this server alone."""
    with capture_logs() as lines:
        tell_of_any_issuer(Settings(_env_file=None, **values))
    assert [(line["event"], line["log_level"]) for line in lines] == [("tokens.any_issuer", "warning")] * warned
    for line in lines:
        assert "MARU_JWT_AUDIENCE" in line["remedy"]
        assert SECRET not in str(line)


OLD, NEW = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
USERS = {"old": SessionId("old"), "new": SessionId("new")}


async def test_the_sessions_of_a_withdrawn_key_end(tmp_path: Path) -> None:
    """With `token_revoked`, by a fetch without it that is a minute later than the first such fetch; those of other keys
    stay, and remembered tokens of the key are refused."""
    now, transport = [1_000.0], RecordingTransport()
    with Issuer(tmp_path, tls=False) as issuer:
        issuer.keys = [jwk(OLD, "old"), jwk(NEW, "new")]
        tokens = Tokens(Settings(_env_file=None, jwt_jwks_url=issuer.url), SILENT, clock=lambda: now[0])
        sessions = Sessions(tokens.verifier, transport, transport.end_memberships, now_ms, 0)
        async with running(tokens, sessions):
            assert (tokens.known, tokens.count, tokens.age_s) == (True, 2, 0.0)
            for name, key in (("old", OLD), ("new", NEW)):
                transport.connect(USERS[name])
                sessions.open(USERS[name], await sessions.admit(sign(key, name)))
            issuer.keys = [jwk(NEW, "new")]
            good = sign(OLD, "old", "bob")
            for pause_s in (ASK_S, WITHDRAW_S):
                now[0] += pause_s
                await sessions.admit(good)
                assert transport.ended == {}
                await refused(sessions, sign(NEW, f"invented {pause_s}"))  # has the keys fetched
            await refused(sessions, good)
            await refused(sessions, sign(OLD, "old"))
            await transport.until(lambda: USERS["old"] in transport.ended)
        assert {id: type(error) for id, error in transport.ended.items()} == {USERS["old"]: TokenRevoked}
        assert (len(sessions), len(issuer.requests)) == (1, 3)


@asynccontextmanager
async def running(tokens: Tokens, sessions: Sessions) -> AsyncIterator[None]:
    """Keep the keys up to date; begin as soon as there are some."""
    assert not tokens.known
    async with asyncio.TaskGroup() as tasks:
        (loop,) = tokens.loops(sessions)
        task = tasks.create_task(loop)
        await tokens.ready()
        yield
        task.cancel()


async def refused(sessions: Sessions, token: str) -> None:
    """Have a token refused."""
    with pytest.raises(Unauthenticated):
        await sessions.admit(token)


def test_fixed_keys_are_known_from_the_start() -> None:
    """Nothing is fetched, and nothing has to be waited for."""
    tokens = Tokens(Settings(_env_file=None, jwt_secret=SecretStr(SECRET)), SILENT)
    assert (tokens.known, tokens.count, tokens.age_s) == (True, 0, 0.0)
    assert tokens.loops(Sessions(tokens.verifier, RecordingTransport(), lambda _: None, now_ms, 0)) == ()
