"""Socket.IO packets: what is read, what is refused, what is written."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.socketio.packet_frames import ack, connected, encoded_ack, encoded_event, event, refused
from server.gateway.socketio.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    MAX_ACK_DIGITS,
    MAX_NAMESPACE_CHARS,
    MAX_SEND_CHARS,
    ChatPacket,
    ack_id,
    command_name,
    read,
    read_connect,
    read_join,
    read_send,
)
from server.gateway.websocket.frames import HostilePacket, frame
from server.wire.answers import Done
from server.wire.words import Command

READ = {
    "0": (CONNECT, None, None, None),
    "0/chat,": (CONNECT, "/chat", None, None),
    "0/chat": (CONNECT, "/chat", None, None),
    '0/chat,{"token":"t"}': (CONNECT, "/chat", None, {"token": "t"}),
    "0/chat?room=1,": (CONNECT, "/chat", None, None),
    "1/chat,": (DISCONNECT, "/chat", None, None),
    '2/chat,["a"]': (EVENT, "/chat", None, ["a"]),
    '2["a",1]': (EVENT, None, None, ["a", 1]),
    '2/chat,17["a",{"b":[]}]': (EVENT, "/chat", 17, ["a", {"b": []}]),
    '2/chat,0["a"]': (EVENT, "/chat", 0, ["a"]),
    f'2/chat,{"9" * MAX_ACK_DIGITS}["a"]': (EVENT, "/chat", int("9" * MAX_ACK_DIGITS), ["a"]),
    "3/chat,5[]": (ACK, "/chat", 5, []),
}

MALFORMED = "malformed packet: "

REFUSED = {
    "nothing": ("", "type", 1008),
    "type 4 is the server's": ('4{"message":"no"}', "type", 1008),
    "type 7": ("7", "type", 1008),
    "type 9": ("9", "type", 1008),
    "a letter": ("x", "type", 1008),
    "a digit of another script": ("٢", "type", 1008),
    "binary event": ('51-/chat,["a",{"_placeholder":true,"num":0}]', "binary packet", 1003),
    "binary ack": ("61-1[]", "binary packet", 1003),
    "endless namespace": (f"0/{'x' * MAX_NAMESPACE_CHARS},", "namespace", 1008),
    "endless ack id": (f'2/chat,{"9" * (MAX_ACK_DIGITS + 1)}["a"]', "ack id", 1008),
    "ack id of 5,000 digits": (f'2/chat,{"9" * 5_000}["a"]', "ack id", 1008),
    "no JSON": ('2/chat,["a"', "JSON", 1008),
    "two JSON values": ('2/chat,["a"]["b"]', "JSON", 1008),
    "NaN": ('2/chat,["a",NaN]', "JSON", 1008),
    "Infinity": ('2/chat,["a",-Infinity]', "JSON", 1008),
    "1e999": ('2/chat,["a",1e999]', "JSON", 1008),
    "lone surrogate": ('2/chat,["\\ud800"]', "JSON", 1008),
    "5,000-digit number": (f'2/chat,["a",{"9" * 5_000}]', "JSON", 1008),
    "40,000 deep": (f'2/chat,["a",{"[" * 40_000}{"]" * 40_000}]', "JSON", 1008),
    "trailing comma": ('2/chat,["a",]', "JSON", 1008),
    "single quotes": ("2/chat,['a']", "JSON", 1008),
    "control character": ('2/chat,["\x00"]', "JSON", 1008),
    "event without data": ("2/chat,", "event", 1008),
    "event that is no list": ('2/chat,{"a":1}', "event", 1008),
    "event without a name": ("2/chat,[]", "event", 1008),
    "event named by a number": ("2/chat,[1]", "event", 1008),
    "event named by null": ("2/chat,[null]", "event", 1008),
    "ack that is no list": ("3/chat,1{}", "ack", 1008),
    "ack without data": ("3/chat,1", "ack", 1008),
}


@pytest.mark.parametrize(("text", "expected"), READ.items(), ids=READ)
def test_packets_are_read(text: str, expected: tuple[object, ...]) -> None:
    """Type, namespace, ack id and data are what the text says."""
    assert read(text) == expected


@pytest.mark.parametrize(("text", "problem", "code"), REFUSED.values(), ids=REFUSED)
def test_hostile_packets_are_refused(text: str, problem: str, code: int) -> None:
    """What breaks the protocol names its fault and its close code, and never repeats the packet."""
    with pytest.raises(HostilePacket) as caught:
        read(text)
    assert caught.value.problem in {problem, MALFORMED + problem}
    assert caught.value.code == code
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**300, 2**53, 1e308, 2e19, 0.1])
def test_numbers_of_data_are_read_exactly(number: float) -> None:
    """A whole number of any size is that number, and a floating-point number stays one."""
    data = ["message:send", {"text": "9" * 30, "data": {"a": [number]}}]
    *_, found = read("2/chat,1" + json.dumps(data))
    assert found == data
    assert type(found[1]["data"]["a"][0]) is type(number)


def test_numbers_of_data_are_read_exactly_if_its_name_is_escaped() -> None:
    """JSON allows escapes in names."""
    *_, found = read('2/chat,1["message:send",{"\\u0064ata":{"a":18446744073709551617}}]')
    assert found[1]["data"]["a"] == 2**64 + 1


SENDS = {
    "ordinary": ('2/chat,7["message:send",{"channel":"a"}]', (7, {"channel": "a"})),
    "empty": ('2/chat,7["message:send",{}]', (7, {})),
    "a space": ('2/chat,7["message:send", {}]', (7, {})),
    "more space": ('2/chat,7["message:send",  {}]', None),
    "data": ('2/chat,7["message:send",{"data":{"a":1}}]', (7, {"data": {"a": 1}})),
    "brackets in a text": ('2/chat,7["message:send",{"text":"}]"}]', (7, {"text": "}]"})),
    "no ack id": ('2/chat,["message:send",{}]', None),
    "another command": ('2/chat,7["message:edit",{}]', None),
    "another namespace": ('2/other,7["message:send",{}]', None),
    "two payloads": ('2/chat,7["message:send",{},{}]', None),
    "no payload": ('2/chat,7["message:send"]', None),
    "a list": ('2/chat,7["message:send",[]]', None),
    "space behind": ('2/chat,7["message:send",{}] ', None),
    "malformed": ('2/chat,7["message:send",{]', None),
    "long": ('2/chat,7["message:send",{"text":"' + "x" * 1_024 + '"}]', None),
    "a long number": ('2/chat,7["message:send",{"data":{"a":18446744073709551617}}]', None),
    "16 digits": ('2/chat,1234567890123456["message:send",{}]', None),
}


@pytest.mark.parametrize(("text", "expected"), SENDS.values(), ids=SENDS)
def test_ordinary_sends_are_read(text: str, expected: tuple[int, object] | None) -> None:
    """Every other packet is left to `read`."""
    assert read_send(text) == expected


@given(
    st.from_regex(
        r'2/chat,[0-9]{0,17}\["message:send",\{?("(channel|text|data)":["{\[]?.{0,20},?){0,3}\}?\]?', fullmatch=True
    )
)
def test_an_ordinary_send_is_what_any_packet_is(text: str) -> None:
    """Both readers agree about each packet that the fast one takes."""
    if (found := read_send(text)) is not None:
        assert read(text) == (EVENT, "/chat", found[0], ["message:send", found[1]])


CONNECTS = {
    "a token": ('0/chat,{"token":"t"}', {"token": "t"}),
    "nothing in it": ("0/chat,{}", {}),
    "a resume": ('0/chat,{"token":"t","resume":{}}', None),
    "no payload": ("0/chat,", None),
    "a payload that is no object": ('0/chat,["t"]', None),
    "no JSON": ('0/chat,{"token":"t"', None),
    "another namespace": ('0/other,{"token":"t"}', None),
    "the main namespace": ('0{"token":"t"}', None),
    "an event": ('2/chat,["a"]', None),
}


@pytest.mark.parametrize(("text", "expected"), CONNECTS.values(), ids=CONNECTS)
def test_ordinary_connects_are_read(text: str, expected: object) -> None:
    """A resume is left to `read`, as is every other packet."""
    assert read_connect(text) == expected
    assert expected is None or read(text) == (CONNECT, "/chat", None, expected)


JOINS = {
    "a channel": ('2/chat,7["channel:join",{"channel":"a"}]', (7, {"channel": "a"})),
    "no ack id": ('2/chat,["channel:join",{"channel":"a"}]', None),
    "another command": ('2/chat,7["channel:leave",{"channel":"a"}]', None),
    "no object": ('2/chat,7["channel:join","a"]', None),
    "two payloads": ('2/chat,7["channel:join",{},{}]', None),
    "an end behind the end": ('2/chat,7["channel:join",{}]]', None),
    "a long payload": ('2/chat,7["channel:join",{"channel":"%s"}]' % ("a" * MAX_SEND_CHARS), None),
}


@pytest.mark.parametrize(("text", "expected"), JOINS.values(), ids=JOINS)
def test_ordinary_joins_are_read(text: str, expected: tuple[int, object] | None) -> None:
    """Every other packet is left to `read`."""
    assert read_join(text) == expected
    assert expected is None or read(text) == (EVENT, "/chat", expected[0], ["channel:join", expected[1]])


def test_a_long_number_in_deep_data_is_read_as_far_as_possible() -> None:
    """It may be rounded: a command that is nested so deep is refused."""
    *_, found = read('2/chat,1["message:send",{"data":' + "[" * 900 + "1" * 30 + "]" * 900 + "}]")
    assert found[0] == "message:send"


@given(st.text(max_size=200) | st.from_regex(r"[0-6](/[a-z]{0,9},?)?[0-9]{0,18}[\[{\"]?.{0,60}"))
def test_any_text_is_a_packet_or_refused(text: str) -> None:
    """No text makes the reader raise anything else, and what is read has the promised shape."""
    try:
        kind, _, _, data = read(text)
    except HostilePacket:
        return
    assert kind in {CONNECT, DISCONNECT, EVENT, ACK}
    assert kind not in {CONNECT_ERROR, BINARY_EVENT, BINARY_ACK}
    assert kind != EVENT or isinstance(data[0], str)
    json.dumps(data, allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.text("abc:", min_size=1, max_size=20), JSON, st.none() | st.integers(0, 10**15 - 1))
def test_what_is_written_is_read_back(name: str, data: object, id: int | None) -> None:
    """An event survives encoding and decoding."""
    written = ChatPacket(EVENT, [name, data], "/chat", id).encode()
    assert isinstance(written, str)
    assert read(written) == (EVENT, "/chat", id, [name, data])


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, {1, 2}], ids=["surrogate", "surrogate key", "set"])
def test_what_clients_cannot_read_is_not_written(value: object) -> None:
    """A lone surrogate or a value that is no JSON raises instead of reaching a client."""
    with pytest.raises(TypeError):
        ChatPacket(EVENT, ["a", value], "/chat").encode()


def test_nan_is_written_as_null() -> None:
    """No NaN reaches the wire, whoever made it."""
    assert ChatPacket(EVENT, ["a", float("nan"), float("inf")], "/chat").encode() == '2/chat,["a",null,null]'


def test_the_servers_packets() -> None:
    """Events, acks of CONNECT and refusals are written as python-socketio writes them."""
    assert event("a", {"b": 1}) == frame(b'42/chat,["a",{"b":1}]')
    assert connected("sid") == frame(b'40/chat,{"sid":"sid"}')
    assert refused("/other", {"message": "m"}) == frame(b'44/other,{"message":"m"}')
    assert refused("/", {"message": "m"}) == frame(b'44{"message":"m"}')
    assert ack(7, Done({"a": 1})) == frame(b'43/chat,7[{"ok":true,"a":1}]')
    assert encoded_ack(7, b'{"ok":true}') == frame(b'43/chat,7[{"ok":true}]')


@pytest.mark.parametrize("size", [0, 90, 100, 1_000, 70_000])
def test_an_event_is_framed_as_a_whole(size: int) -> None:
    """Whatever the length of its frame, an event around ready JSON is written as the same event made at once."""
    body = {"a": "x" * size}
    assert encoded_event("a", orjson.dumps(body)) == event("a", body)


SPACES = st.text(" \t\r\n", max_size=3) | st.integers(0, 400).map(" ".__mul__)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str, int | None]:
    """A command as a client may spell it, its name, and its ack id."""
    name = draw(st.sampled_from([*map(str, Command), "no:such", "x" * 100, "", "ü", "a\\b"]))
    letters = [f"\\u{ord(letter):04x}" if draw(st.booleans()) else json.dumps(letter)[1:-1] for letter in name]
    quoted = "".join(letters) if draw(st.booleans()) else json.dumps(name)[1:-1]
    namespace = draw(st.sampled_from(["/chat", "/chat?", '/chat?a="b', "/chat?message:send", "/other"]))
    id = draw(st.none() | st.integers(0, 10**MAX_ACK_DIGITS - 1))
    payload = draw(st.sampled_from(['{"a":"[\\"message:send\\""}', '["message:send"]', "1", '""']))
    data = f'{draw(SPACES)}[{draw(SPACES)}"{quoted}"{draw(SPACES)},{draw(SPACES)}{payload}]'
    return f"2{namespace},{'' if id is None else id}{data}", name, id


@given(spellings())
def test_a_name_is_found_without_parsing(spelling: tuple[str, str, int | None]) -> None:
    """However it is spelled, a known name is the one that the parser finds; no other name is taken for a known one."""
    text, name, id = spelling
    _, _, parsed, data = read(text)
    assert (parsed, data[0]) == (id, name)
    found = command_name(text)
    assert found == name or (name not in list(Command) and found not in list(Command))
    assert ack_id(text) == id


@given(st.text(max_size=60) | st.text('2/chat,[]"\\u0{}:', max_size=60))
def test_any_text_has_a_name_or_none(text: str) -> None:
    """Nothing is raised, and a command always has a name to be counted by."""
    found = command_name(text)
    try:
        kind, _, _, data = read(text)
    except HostilePacket:
        return
    assert (found is None) == (kind != EVENT)
    assert kind != EVENT or data[0] not in list(Command) or found == data[0]
