"""Every operation of the HTTP API with every error: status, envelope and headers are those of the tables."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import ClientSession, web
from structlog.testing import capture_logs
from structlog.typing import EventDict

from server.api.backends import door as door_module
from server.api.backends.door import Door
from server.api.backends.shapes import ErrorAnswer
from server.api.backends.table import Operation, Table
from server.domain.backends import ApiKey, ApiKeys, Scope, digest
from server.domain.errors import TABLE, BadRequest, MaruError, RateLimited
from server.wire import words
from tests.doubles.api_table import BODIES, OPERATIONS, fails_with, path
from tests.doubles.metrics import RecordingMetrics

KEY, NO_SCOPE = "a-key-with-all-scopes", "a-key-without-a-scope"
KEYS = [ApiKey("desk", digest(KEY), frozenset(Scope)), ApiKey("none", digest(NO_SCOPE), frozenset())]
DEADLINE_S = 10.0

every = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
every_with_key = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.scope is not None], ids=lambda operation: operation.id
)
every_with_body = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.has_body], ids=lambda operation: operation.id
)


class Answered(NamedTuple):
    """An answer: status, headers and the error in its body."""

    status: int
    headers: Mapping[str, str]
    error: dict[str, Any]


class Site:
    """A door over a table, asked over HTTP. `lines` are those of its log."""

    def __init__(self, url: str, client: ClientSession, lines: list[EventDict]) -> None:
        self.url = url
        self.lines = lines
        self._client = client

    async def ask(self, operation: Operation[Any, Any], key: str | None = KEY, **given: Any) -> Answered:
        """One request that fits the operation, except in what is given."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if operation.has_body and "data" not in given:
            given["data"] = orjson.dumps(BODIES[operation.id])
            headers["Content-Type"] = "application/json"
        headers |= given.pop("headers", {})
        method, where = given.pop("method", operation.method), given.pop("path", path(operation))
        async with self._client.request(method, self.url + where, headers=headers, **given) as response:
            body = orjson.loads(await response.read())
            assert response.content_type == "application/json"
            assert response.headers["X-Request-Id"]
            assert body.keys() == {"error"}
            ErrorAnswer.model_validate(body)
            return Answered(response.status, response.headers, body["error"])


@asynccontextmanager
async def site(
    table: Table = OPERATIONS,
    take: Callable[[str], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
    metrics: RecordingMetrics | None = None,
) -> AsyncIterator[Site]:
    """A server with the table."""
    ids = count(1)
    door = Door(ApiKeys(KEYS), take, stopping, lambda: f"r{next(ids)}", metrics or RecordingMetrics())
    app = web.Application()
    door.mount(app, table, 1_000)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0]
    async with asyncio.timeout(DEADLINE_S), ClientSession() as client:
        with capture_logs() as lines:
            yield Site(f"http://{host}:{port}", client, lines)
        await door.finish(DEADLINE_S)
    await runner.cleanup()


def refusal(kind: type[MaruError]) -> MaruError:
    """An error as a use case raises it."""
    if kind is RateLimited:
        return RateLimited.by("channel", 1.234, "too many")
    return kind("no", details={"field": "x"} if kind is BadRequest else None)


def test_every_name_has_an_operation() -> None:
    """Each once; and each method and path once."""
    assert sorted(operation.id for operation in OPERATIONS) == sorted(words.Operation)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.code)
async def test_every_error_of_every_operation(kind: type[MaruError]) -> None:
    """The status is the code's, the envelope has what the error has; what may be retried says when."""
    error, metrics = refusal(kind), RecordingMetrics()
    async with site(fails_with(error), metrics=metrics) as api:
        for operation in OPERATIONS:
            answered = await api.ask(operation)
            assert answered.status == kind.status
            assert (answered.error["code"], answered.error["retryable"]) == (kind.code, kind.retryable)
            assert answered.error.get("details") == error.details
            assert ("Retry-After" in answered.headers) == kind.retryable
            if kind is RateLimited:
                assert (answered.error["retry_after_ms"], answered.headers["Retry-After"]) == (1_234, "2")
        told = [(line["act"], line["outcome"], line["status"]) for line in api.lines]
    assert told == [(each.id, kind.code, kind.status) for each in OPERATIONS]
    assert [call[:2] for call in metrics.of("api_answered")] == [(each.id, kind.status) for each in OPERATIONS]


async def test_a_fault_is_internal() -> None:
    """Nothing of it is shown."""
    async with site(fails_with(ZeroDivisionError("canary"))) as api:
        for operation in OPERATIONS:
            answered = await api.ask(operation)
            assert (answered.status, answered.error["code"]) == (500, "internal")
            assert "canary" not in str(answered)
        assert [line["event"] for line in api.lines] == ["api.failed", "act"] * len(OPERATIONS)


@every_with_key
@pytest.mark.parametrize("key", [None, "another-key-0123456789", KEY[:-1], KEY + "x"])
async def test_without_its_key_nothing_is_done(operation: Operation[Any, Any], key: str | None) -> None:
    """401, and how to authenticate; whatever the rest of the request is."""
    async with site() as api:
        for given in ({}, {"data": b"{"}, {"path": path(operation).replace("room:1", "%20")}):
            answered = await api.ask(operation, key, **given)
            assert (answered.status, answered.error["code"]) == (401, "unauthenticated")
            assert answered.headers["WWW-Authenticate"] == "Bearer"
            assert answered.headers["Connection"] == "close"


@every_with_key
async def test_without_its_scope_nothing_is_done(operation: Operation[Any, Any]) -> None:
    """403, which names the scope."""
    async with site() as api:
        answered = await api.ask(operation, NO_SCOPE, **({"data": b"{"} if operation.has_body else {}))
    assert (answered.status, answered.error["details"]) == (403, {"scope": operation.scope})


@every_with_key
async def test_a_key_has_a_rate(operation: Operation[Any, Any]) -> None:
    """It is taken by the key's name, also from requests that are refused for their scope."""
    asked: list[str] = []

    def take(name: str) -> None:
        asked.append(name)
        raise RateLimited.by("api_key", 0.25, "too many")

    async with site(take=take) as api:
        for key in (KEY, NO_SCOPE):
            answered = await api.ask(operation, key)
            assert (answered.status, answered.error["retry_after_ms"]) == (429, 250)
    assert asked == ["desk", "none"]


@every
async def test_other_methods_are_named(operation: Operation[Any, Any]) -> None:
    """405 with the methods that the path has."""
    allowed = {each.method for each in OPERATIONS if each.path == operation.path}
    async with site() as api:
        for method in {"GET", "PUT", "PATCH", "DELETE", "POST", "TRACE", "OPTIONS"} - allowed:
            answered = await api.ask(operation, method=method)
            assert (answered.status, answered.error["code"]) == (405, "bad_request")
            assert answered.headers["Allow"] == ", ".join(sorted(allowed))


async def test_other_paths_are_not_found() -> None:
    """With a key or without."""
    async with site() as api:
        for where in ("/api/", "/api/v1", "/api/v1/nothing", "/api/v2/openapi.json", "/api/v1/channels/room:1"):
            assert (await api.ask(OPERATIONS[0], path=where)).status == 404
            assert (await api.ask(OPERATIONS[0], None, path=where)).status == 404


@every_with_body
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_other_types_are_refused(operation: Operation[Any, Any], headers: dict[str, str]) -> None:
    """415: a body is JSON in UTF-8, as it is."""
    async with site() as api:
        answered = await api.ask(operation, headers=headers)
    assert (answered.status, answered.error["code"]) == (415, "bad_request")


@every_with_body
async def test_a_body_is_bounded(operation: Operation[Any, Any]) -> None:
    """413, by its length or while it is read."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(operation.max_body // 4_096 + 1):
            yield b" " * 4_096

    headers = {"Content-Type": "application/json"}
    async with site() as api:
        for data in (io.BytesIO(b" " * (operation.max_body + 1)), parts()):
            answered = await api.ask(operation, data=data, headers=headers)
            assert (answered.status, answered.error["code"]) == (413, "payload_too_large")
            assert answered.error["details"]["limit"] == operation.max_body


@every_with_body
@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"5", b"null", b'"x"', b"{}", b"\xff", b'{"text":NaN}', b"[" * 60_000]
)
async def test_a_body_is_an_object(operation: Operation[Any, Any], data: bytes) -> None:
    """400, which says what is wrong, and names none of our classes."""
    async with site() as api:
        answered = await api.ask(operation, data=data, headers={"Content-Type": "application/json"})
    assert (answered.status, answered.error["code"]) == (400, "bad_request")
    assert operation.body.__name__ not in str(answered)


@every
@pytest.mark.parametrize("part", ["", "%2F", "a%2Fb", "%00", "%FF", "A", "a%20b", "%E2%80%AE", "x" * 200])
async def test_names_in_a_path_are_judged(operation: Operation[Any, Any], part: str) -> None:
    """After decoding: no slash, no NUL, nothing that is not UTF-8; and nothing at all is no name either."""
    if "room:1" not in path(operation):
        return
    async with site() as api:
        answered = await api.ask(operation, path=path(operation).replace("room:1", part))
    assert (answered.status, answered.error["code"]) == (400, "bad_request")


@every
async def test_a_stopping_server_does_nothing_more(operation: Operation[Any, Any]) -> None:
    """503, to be repeated elsewhere; the connection is closed."""
    async with site(stopping=lambda: True) as api:
        answered = await api.ask(operation)
    assert (answered.status, answered.error["code"]) == (503, "unavailable")
    assert answered.headers["Connection"] == "close"


@every
async def test_requests_under_way_are_bounded(operation: Operation[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """503, to be repeated."""
    monkeypatch.setattr(door_module, "MAX_UNDER_WAY", 0)
    async with site() as api:
        answered = await api.ask(operation)
    assert (answered.status, answered.error["code"]) == (503, "overloaded")


@every
@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 65, "a\tb"])
async def test_idempotency_keys_are_judged(operation: Operation[Any, Any], key: str) -> None:
    """1 to 64 visible characters of ASCII."""
    if not operation.idempotent:
        return
    async with site() as api:
        answered = await api.ask(operation, headers={"Idempotency-Key": key})
    assert (answered.status, answered.error["details"]) == (400, {"field": "Idempotency-Key"})


async def test_the_callers_request_id() -> None:
    """It comes back if it is visible and short, and is not the key; else there is a new one."""
    async with site(fails_with(BadRequest("no"))) as api:
        for given, told in [("a" * 64, "a" * 64), ("~!x", "~!x"), ("a" * 65, "r1"), ("a b", "r2"), (KEY, "r3")]:
            assert (await api.ask(OPERATIONS[0], headers={"X-Request-Id": given})).headers["X-Request-Id"] == told
