"""The cases in which the server is well: tokens, history, keys, order, texts, refusals."""

import time
import uuid

import jwt

from tests.clients_of_others.cell import Case, Cell
from tests.clients_of_others.connects import Connects
from tests.clients_of_others.puppet import Json
from tests.harness.proxy import Proxy
from tests.harness.waiting import pause

STORM_S = 2.0
"""How long a client with a bad token is watched. One that tries again at once does so within milliseconds."""

BURST = 30

TEXT = (
    "Gr\u00fc\u00dfe \u4e16\u754c \u05e9\u05dc\u05d5\u05dd e\u0301 "  # Latin, Han, Hebrew, a combining accent
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1ef\U0001f1f5 "  # a family with joiners, a flag
    '\t\n"\\" \ufffd \U0001f600'  # white space, quotes, the replacement character, two code units
)


async def connect(cell: Cell) -> None:
    """A token is enough."""
    socket = await cell.live()
    assert (await socket.event("session:ready"))["user"].startswith("ann.")


async def _refused(cell: Cell, auth: Json, code: str, word: str) -> None:
    error = await cell.refused(auth)
    assert error["data"]["code"] == code, error
    assert word in error["data"]["message"], error


async def wrong_token(cell: Cell) -> None:
    """The application hears the code and the sentence."""
    forged = jwt.encode({"sub": "ann", "exp": int(time.time()) + 60}, "not-the-secret-" * 3, algorithm="HS256")
    await _refused(cell, {"token": forged}, "unauthenticated", "signature")


async def expired_token(cell: Cell) -> None:
    """The same."""
    await _refused(cell, {"token": cell.token(ttl_s=-60)}, "token_expired", "expired")


async def no_token(cell: Cell) -> None:
    """The same, with the place where a token belongs."""
    await _refused(cell, {}, "unauthenticated", "auth.token")


async def history(cell: Cell) -> None:
    """A join brings the last events."""
    ann = await cell.enter()
    for text in ("one", "two", "three"):
        await cell.send(ann, text)
    ben = await cell.enter("ben")
    joined = await cell.join(ben, history=2)
    assert [event["message"]["text"] for event in joined["events"]] == ["two", "three"]
    page = await ben.ask("history:read", {"channel": cell.channel})
    assert [message["offset"] for message in page["messages"]] == [1, 2, 3]


async def key(cell: Cell) -> None:
    """A send is acked; under the same key it is one message, and comes once as an event."""
    ann = await cell.enter()
    name = str(uuid.uuid4())
    first, again = await cell.send(ann, "once", key=name), await cell.send(ann, "once", key=name)
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["offset"] == again["offset"] == 1
    assert (await cell.send(ann, "then", key=str(uuid.uuid4())))["offset"] == 2
    await cell.sees(ann, "then")
    assert cell.texts(ann) == ["once", "then"]


async def order(cell: Cell) -> None:
    """What is sent in one breath comes to the sender and to others in that order, each once."""
    ann, _ = await cell.enter(), await cell.enter("ben")
    texts = [str(number) for number in range(BURST)]
    for text in texts:
        await ann.emit("message:send", {"channel": cell.channel, "text": text})
    for socket in cell.sockets:
        await cell.sees(socket, texts[-1])
        assert cell.texts(socket) == texts
        assert [event["offset"] for event in cell.seen(socket)] == list(range(1, BURST + 1))


async def unicode(cell: Cell) -> None:
    """Text and data come to another as they were sent."""
    ann, ben = await cell.enter(), await cell.enter("ben")
    data = {TEXT: [TEXT, 1.5, None, True, {"": []}]}
    sent = await cell.send(ann, TEXT, data=data)
    await cell.sees(ben, TEXT)
    (event,) = cell.seen(ben)
    for message in (sent["message"], event["message"]):
        assert (message["text"], message["data"]) == (TEXT, data)


async def refusals(cell: Cell) -> None:
    """A refused command is answered with its code, and the session goes on."""
    ann = await cell.enter()
    bad: dict[str, tuple[str, object]] = {
        "bad_request": ("message:send", {"channel": cell.channel, "text": "x" * 4001}),
        "permission_denied": ("channel:join", {"channel": "ops:secret"}),
        "unknown_event": ("message", {"channel": cell.channel}),
    }
    for code, (name, body) in bad.items():
        ack = await ann.ask(name, body)
        assert (ack["ok"], ack["error"]["code"]) == (False, code), ack
    text = await ann.ask("channel:join", cell.channel)
    assert text["error"]["code"] == "bad_request"
    await cell.send(ann, "still here")


async def other_namespace(cell: Cell) -> None:
    """The default namespace of every library is refused with the name of the right one."""
    error = await cell.refused({"token": cell.token()}, "/")
    assert error["data"]["code"] == "unknown_namespace", error
    assert "/chat" in error["data"]["message"], error


async def two_namespaces(cell: Cell) -> None:
    """A refused namespace leaves the other one of the same WebSocket alone."""
    connects = Connects()
    async with Proxy(cell.server.port, connects.relay) as proxy:
        socket = cell.socket()
        await socket.open(proxy.url, {"token": cell.token()}, ("/", "/chat"))
        await socket.event("session:ready")
        await cell.join(socket)
        assert (connects.websockets, connects.answered) == (1, 1), connects


async def storm(cell: Cell) -> None:
    """A client with a bad token is refused once, and does not try again while the server keeps its WebSocket."""
    connects = Connects()
    async with Proxy(cell.server.port, connects.relay) as proxy:
        socket = cell.socket()
        await socket.open(proxy.url, {"token": "bad"})
        await socket.told("connect_error")
        await pause(connects.again, STORM_S)
        assert connects.answered == 1, connects


async def default_transports(cell: Cell) -> None:
    """A client that begins with long-polling shows a sentence that says what to do."""
    socket = cell.socket()
    await socket.open(cell.server.url, {"token": cell.token()}, transports=None)
    error = await socket.told("connect_error")
    assert "websocket" in f"{error['message']} {error['data']} {error['detail']}".replace("transport=websocket", ""), (
        error
    )


CASES = (
    Case("connect", (connect,)),
    Case("wrong token", (wrong_token,)),
    Case("expired token", (expired_token,)),
    Case("no token", (no_token,)),
    Case("history", (history,)),
    Case("ack and key", (key,)),
    Case("order", (order,)),
    Case("unicode", (unicode,)),
    Case("refused commands", (refusals,)),
    Case("default namespace", (other_namespace,)),
    Case("two namespaces", (two_namespaces,)),
    Case("refused storm", (storm,)),
    Case("default transports", (default_transports,)),
)
