"""Commands that break a rule but not the protocol: each is answered with its code, and the session goes on."""

from typing import Any

import pytest

from tests.clients.frames import masked
from tests.clients.raw import event
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARK = "zZmarkZz"
"""Stands in what is sent, and must not stand in an answer that refuses it."""

ROOM = "room:commands"
KNOWN_ID = "01890000-0000-7000-8000-000000000000"


def nested(depth: int) -> dict[str, Any]:
    """An object so many levels deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def send(**fields: object) -> tuple[object, ...]:
    """A `message:send` that is right but for these fields; one that is `...` is left out."""
    whole = {"channel": ROOM, "text": "hello"} | fields
    return ("message:send", {name: value for name, value in whole.items() if value is not ...})


RESERVED = "connect disconnect connect_error error message on_connect on_disconnect on_message session:ready"
PYTHON = "trigger_event emit close_room admit opened ended _send __init__ __class__ server message:created"
UNKNOWN = [
    *RESERVED.split(),
    *PYTHON.split(),
    "*",
    "",
    " ",
    "message:send ",
    "Message:Send",
    "message:send\0",
    "x" * 9_000,
]

BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "no payload": (("message:send",), "payload"),
    "two payloads": (("message:send", {}, {MARK: 1}), "payload"),
    "payload null": (("message:send", None), "payload"),
    "payload list": (("message:send", [MARK]), "payload"),
    "payload text": (("message:send", MARK), "payload"),
    "payload number": (("channel:join", 5), "payload"),
    "payload true": (("channel:join", True), "payload"),
    "channel missing": (send(channel=...), "channel"),
    "channel null": (send(channel=None), "channel"),
    "channel number": (send(channel=5), "channel"),
    "channel list": (send(channel=[ROOM]), "channel"),
    "channel empty": (send(channel=""), "channel"),
    "channel in capitals": (send(channel=f"room:{MARK}"), "channel"),
    "channel with a line break": (send(channel="room:1\n"), "channel"),
    "channel with a NUL": (send(channel="room:\0"), "channel"),
    "channel of 129 characters": (send(channel="room:" + "x" * 124), "channel"),
    "channel that is a pattern": (send(channel="room:*"), "channel"),
    "channel with an empty part": (send(channel="room::1"), "channel"),
    "channel of another script": (send(channel="room:é"), "channel"),
    "text missing": (send(text=...), "text"),
    "text null": (send(text=None), "text"),
    "text number": (send(text=5), "text"),
    "text object": (send(text={"a": MARK}), "text"),
    "text empty": (send(text=""), "text"),
    "text of 4,001 characters": (send(text="x" * 4_001), "text"),
    "text with a NUL": (send(text=f"{MARK}\0"), "text"),
    "text with an escape": (send(text=f"\x1b]0;{MARK}\x07"), "text"),
    "text with DEL": (send(text=f"\x7f{MARK}"), "text"),
    "text with a control of Latin 1": (send(text=f"\x9b2J{MARK}"), "text"),
    "edit with an escape": (("message:edit", {"channel": ROOM, "id": KNOWN_ID, "text": "\x1b[2J"}), "text"),
    "key with a line break": (send(key="k\n"), "key"),
    "reply_to with a NUL": (send(reply_to=f"{MARK}\0"), "reply_to"),
    "delete with an id with a NUL": (("message:delete", {"channel": ROOM, "id": "\0"}), "id"),
    "text of 60,000 characters": (send(text="x" * 60_000), "text"),
    "data list": (send(data=[MARK]), "data"),
    "data text": (send(data=MARK), "data"),
    "data 33 deep": (send(data=nested(33)), "data"),
    "data 900 deep": (send(data=nested(900)), "data"),
    "data deep in lists": (
        send(data={"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}),
        "data",
    ),
    "data with a number of 65 bits": (send(data={"a": [{"b": 2**64}]}), "data"),
    "data with a number of 301 digits": (send(data={"a": 10**300}), "data"),
    "an edit with a number of 65 bits": (
        ("message:edit", {"channel": ROOM, "id": KNOWN_ID, "text": "x", "data": {"a": -(2**63) - 1}}),
        "data",
    ),
    "key empty": (send(key=""), "key"),
    "key of 65 characters": (send(key="k" * 65), "key"),
    "key number": (send(key=7), "key"),
    "reply_to number": (send(reply_to=7), "reply_to"),
    "reply_to of 65 characters": (send(reply_to="r" * 65), "reply_to"),
    "edit without an id": (("message:edit", {"channel": ROOM, "text": "x"}), "id"),
    "edit without a text": (("message:edit", {"channel": ROOM, "id": KNOWN_ID}), "text"),
    "edit with an endless id": (("message:edit", {"channel": ROOM, "id": "i" * 65, "text": "x"}), "id"),
    "delete with an id that is a number": (("message:delete", {"channel": ROOM, "id": 1}), "id"),
    "join from a text": (("channel:join", {"channel": ROOM, "since": MARK}), "since"),
    "join from nowhere": (("channel:join", {"channel": ROOM, "since": {}}), "since.epoch"),
    "join from -1": (("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": -1}}), "since.offset"),
    "join from 2^53": (("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": 2**53}}), "since.offset"),
    "join from 10^30": (("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": 10**30}}), "since.offset"),
    "join from a fraction": (
        ("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": 1.5}}),
        "since.offset",
    ),
    "join from a digit": (("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": "1"}}), "since.offset"),
    "join from true": (("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": True}}), "since.offset"),
    "join of an endless epoch": (
        ("channel:join", {"channel": ROOM, "since": {"epoch": "e" * 65, "offset": 1}}),
        "since.epoch",
    ),
    "join with 101 of history": (("channel:join", {"channel": ROOM, "history": 101}), "history"),
    "join with -1 of history": (("channel:join", {"channel": ROOM, "history": -1}), "history"),
    "history of 0": (("history:read", {"channel": ROOM, "limit": 0}), "limit"),
    "history of 101": (("history:read", {"channel": ROOM, "limit": 101}), "limit"),
    "history before -1": (("history:read", {"channel": ROOM, "before": -1}), "before"),
    "refresh without a token": (("auth:refresh", {}), "token"),
    "refresh with an endless token": (("auth:refresh", {"token": "x" * 20_000}), "token"),
}

REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "data of 9 KB": (send(data={"a": "x" * 9_000}), "payload_too_large"),
    "data of 8 KB in wide characters": (send(data={"a": "漢" * 2_800}), "payload_too_large"),
    "a room without a grant": (send(channel="secret:1"), "permission_denied"),
    "joining without a grant": (("channel:join", {"channel": "secret:1"}), "permission_denied"),
    "history without a grant": (("history:read", {"channel": "secret:1"}), "permission_denied"),
    "editing without a grant": (
        ("message:edit", {"channel": "secret:1", "id": KNOWN_ID, "text": "x"}),
        "permission_denied",
    ),
    "editing what is not there": (
        ("message:edit", {"channel": ROOM, "id": KNOWN_ID, "text": "x"}),
        "permission_denied",
    ),
    "deleting what is not there": (("message:delete", {"channel": ROOM, "id": "'; DROP TABLE"}), "permission_denied"),
    "a token that is none": (("auth:refresh", {"token": MARK}), "unauthenticated"),
    "another user's token": (("auth:refresh", {"token": token("victim")}), "unauthenticated"),
    "an expired token": (("auth:refresh", {"token": token("mallory", ttl_s=-60)}), "token_expired"),
}

TAKEN: dict[str, tuple[object, ...]] = {
    "unknown fields": send(unknown=[MARK], constructor=1),
    "the longest text": send(text="𝄞" * 4_000),
    "line separators and an override": send(text="\t\n\u2028\u2029\u202e\ufeff"),
    "controls in data": send(data={"a": "\0\x1b", "\0": 1}),
    "data 32 deep": send(data=nested(32)),
    "the largest whole numbers": send(data={"a": [2**53, -(2**63), 2**64 - 1, 1e308, -0.0, 5e-324]}),
    "names of prototypes": send(data={"__proto__": {"a": 1}, "constructor": None, "": ""}),
    "leaving what was not joined": ("channel:leave", {"channel": "room:never"}),
    "leaving without a grant": ("channel:leave", {"channel": "secret:1"}),
    "SQL in a key": send(key="'; DROP TABLE messages; --"),
}


async def asked(scene: Scene, command: tuple[object, ...]) -> dict[str, Any]:
    """The answer to a command of a session that is well before and after."""
    client = await scene.chat()
    answer = await client.ask(*command)  # type: ignore[arg-type]  # the first part is the name
    assert (await client.ask("channel:leave", {"channel": ROOM}))["ok"]
    await client.leave()
    await scene.ended(client, "client closed", 1000)
    await scene.clean()
    return answer


@pytest.mark.parametrize("name", UNKNOWN, ids=[repr(name[:30]) for name in UNKNOWN])
async def test_names_that_are_no_commands(scene: Scene, name: str) -> None:
    """Reserved names, the library's events and the server's methods are unknown events like any other."""
    answer = await asked(scene, (name, MARK))
    assert answer["error"]["code"] == "unknown_event"
    assert MARK not in str(answer)


@pytest.mark.parametrize(("command", "field"), BAD.values(), ids=BAD)
async def test_payloads_that_break_the_contract(scene: Scene, command: tuple[object, ...], field: str) -> None:
    """`bad_request` names the field, and repeats nothing of what was sent."""
    answer = await asked(scene, command)
    assert (answer["ok"], answer["error"]["code"], answer["error"]["retryable"]) == (False, "bad_request", False)
    assert answer["error"]["details"]["field"] == field
    assert MARK not in str(answer)


@pytest.mark.parametrize(("command", "code"), REFUSED.values(), ids=REFUSED)
async def test_commands_that_may_not_be(scene: Scene, command: tuple[object, ...], code: str) -> None:
    """A refusal has the code of the table."""
    answer = await asked(scene, command)
    assert (answer["ok"], answer["error"]["code"], answer["error"]["retryable"]) == (False, code, False)
    assert MARK not in str(answer)


@pytest.mark.parametrize("command", TAKEN.values(), ids=TAKEN)
async def test_odd_but_sound_commands(scene: Scene, command: tuple[object, ...]) -> None:
    """What the contract allows is done, and comes back as it was sent."""
    answer = await asked(scene, command)
    assert answer["ok"] is True
    sent = command[1]
    assert isinstance(sent, dict)
    if "message" in answer:
        assert answer["message"]["text"] == sent["text"]
        assert answer["message"]["data"] == sent.get("data")


async def test_of_two_fields_of_one_name_the_last_counts(scene: Scene) -> None:
    """Duplicate keys mean the same to the sender's ack and to every reader."""
    reader, client = await scene.chat("reader"), await scene.chat()
    await reader.ask("channel:join", {"channel": "room:duplicate"})
    await client.say(
        '42/chat,3["message:send",{"channel":"secret:1","text":"a","channel":"room:duplicate","text":"b"}]'
    )
    answer = await client.ack(3)
    created = await reader.event("message:created")
    assert (answer["message"]["text"], answer["message"]["channel"]) == ("b", "room:duplicate")
    assert created["message"] == answer["message"]
    await client.leave()
    await reader.leave()
    await scene.clean()


async def test_the_largest_ack_id_comes_back(scene: Scene) -> None:
    """Ack ids up to 15 digits are answered under their number; 0 is one too."""
    client = await scene.chat()
    for number in (0, 999_999_999_999_999):
        await client.say(event("channel:leave", {"channel": ROOM}, ack=number))
        assert (await client.ack(number))["ok"]
    await client.leave()
    await scene.clean()


async def test_a_command_without_an_ack_id_is_handled(scene: Scene) -> None:
    """It is done, and not answered; nor is its error."""
    client = await scene.chat()
    await client.send(masked(event(*send(channel="room:silent"))) + masked(event("no:such")))  # type: ignore[arg-type]
    page = await client.ask("history:read", {"channel": "room:silent"})
    assert [message["text"] for message in page["messages"]] == ["hello"]
    assert client.unread == []
    await client.leave()
    await scene.clean()


async def test_a_thousand_commands_at_once_are_answered_in_order(scene: Scene) -> None:
    """A burst that waits for nothing is handled one after another: acks and offsets rise by one."""
    client = await scene.chat()
    client.push(
        b"".join(
            masked(event("message:send", {"channel": "room:burst", "text": str(number)}, ack=number))
            for number in range(1_000)
        )
    )
    for number in range(1_000):
        text = await client.text()
        assert text.startswith(f"43/chat,{number}[")
        assert f'"offset":{number + 1},' in text
    await client.leave()
    await scene.clean()


async def test_the_log_says_what_was_asked_and_nothing_of_what_was_said(scene: Scene) -> None:
    """One `command` line each: name, session, user, channel, offset, outcome; an unknown name is not repeated."""
    client = await scene.chat()
    began = len(scene.server.lines)
    await client.ask("message:send", {"channel": "room:logged", "text": MARK, "data": {"a": MARK}, "key": MARK})
    await client.ask(MARK, MARK)
    await client.ask("channel:leave", {"channel": MARK})
    await client.leave()
    await scene.ended(client)
    lines = [line for line in scene.server.lines[began:] if line.get("session") == client.session]
    assert [
        (line["event"], line.get("name"), line["user"], line.get("channel"), line.get("offset"), line.get("outcome"))
        for line in lines
    ] == [
        ("command", "message:send", "mallory", "room:logged", 1, "ok"),
        ("command", "(unknown)", "mallory", None, None, "unknown_event"),
        ("command", "channel:leave", "mallory", None, None, "bad_request"),
        ("connection.closed", None, "mallory", None, None, None),
    ]
    assert MARK not in scene.server.output
    await scene.clean()
