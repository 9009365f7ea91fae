"""A real backend is asked before joins, sends and edits: its verdicts, their absence, and that nobody else notices."""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import pytest_asyncio

from server.adapters.hooks.backend import http_hooks
from server.domain.channels import ChannelName
from server.domain.hooks import Accept, Hook, NoVerdict, Question, Reject
from server.domain.identity import SessionId, UserId
from server.domain.signing import SigningKey
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.backend import API_ENV, call
from tests.harness.hook_backend import FAILURES, HookBackend
from tests.harness.process import free_port
from tests.harness.protocol_document import examples, section
from tests.harness.receiver import SECRET
from tests.harness.scrape import read, scraped
from tests.harness.server import LIMITS, ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY = {"hooks": ["join", "send", "edit"]}
RULES = {
    "room:h:*": EVERY,
    "room:o:*": {**EVERY, "hook_failure": "open"},
    "room:s:*": {"hooks": ["send"], "slow_mode_s": 60},
}
ENV = {**API_ENV, "MARU_MESSAGE_LOG": "memory", "MARU_CHANNEL_RULES": json.dumps(RULES)}
IN_TIME_S = 3.0
"""A question has 1 s; the rest is for a machine that has much to do. test_hook_victims.py is stricter."""

_numbers = itertools.count()


def channel(how: str, kind: str = "h") -> str:
    """A channel of a test's own, of which the backend is asked in this way."""
    return f"room:{kind}:{how}:{next(_numbers)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HookBackend]:
    """The backend."""
    async with HookBackend(tmp_path_factory.mktemp("backend")) as backend:
        yield backend


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(backend: HookBackend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that asks it, and logs no fault."""
    async with ServerProcess(tmp_path_factory.mktemp("server"), ENV | backend.env | LIMITS) as server:
        yield server
        assert await server.terminate() == 0
        assert server.faults() == []
        for secret in (SECRET.removeprefix("whsec_"), "canary"):
            assert secret not in server.output


async def chat(server: ServerProcess, user: str = "alice", **how: Any) -> RawSocket:
    """A session."""
    return await RawSocket.chat(server.port, token(user), **how)


async def send(client: RawSocket, channel: str, text: str = "hi", **more: object) -> dict[str, Any]:
    """Send a message; return the answer."""
    return await client.ask("message:send", {"channel": channel, "text": text, **more})


async def test_the_verdicts_on_a_message(asking: ServerProcess, backend: HookBackend) -> None:
    """It is written as it is, refused with the backend's reason, or written with other words, which everybody gets."""
    room, client, other = channel("judge"), await chat(asking), await chat(asking, "bob")
    assert (await other.ask("channel:join", {"channel": room}))["ok"]
    accepted = await send(client, room, "canary", data={"a": 1}, key="k")
    assert (accepted["message"]["text"], accepted["message"]["data"]) == ("canary", {"a": 1})
    rejected = (await send(client, room, "rude"))["error"]
    assert (rejected["code"], rejected["retryable"]) == ("permission_denied", False)
    assert rejected["details"] == {"reason": "Be kind."}
    replaced = await send(client, room, "shout", key="l")
    assert (replaced["message"]["text"], replaced["message"]["data"]) == ("whisper", {"was": "loud"})
    heard = await other.events("message:created", 2)
    assert [each["message"]["text"] for each in heard] == ["canary", "whisper"]
    asked = await backend.asked(room)
    assert [question["hook"] for question in asked] == ["join", "send", "send", "send"]
    assert asked[0] == {
        "hook": "join",
        "user": "bob",
        "session": other.session,
        "channel": room,
        "text": None,
        "data": None,
        "key": None,
    }
    assert asked[1] == asked[0] | {
        "hook": "send",
        "user": "alice",
        "session": client.session,
        "text": "canary",
        "data": {"a": 1},
        "key": "k",
    }
    client.vanish()
    other.vanish()


async def test_the_verdicts_on_an_edit(asking: ServerProcess, backend: HookBackend) -> None:
    """As on a message; only who may edit is asked about. A deletion never is."""
    room, client, other = channel("judge"), await chat(asking), await chat(asking, "bob")
    id = (await send(client, room, data={"a": 1}))["message"]["id"]

    async def edit(by: RawSocket, text: str) -> dict[str, Any]:
        return await by.ask("message:edit", {"channel": room, "id": id, "text": text})

    assert (await edit(client, "rude"))["error"]["details"] == {"reason": "Be kind."}
    edited = await edit(client, "ho")
    assert (edited["message"]["text"], edited["message"]["data"]) == ("ho", {"a": 1})
    assert (await edit(client, "shout"))["message"]["text"] == "whisper"
    assert "reason" not in (await edit(other, "mine"))["error"]["details"]
    assert (await client.ask("message:delete", {"channel": room, "id": id}))["ok"]
    questions = [(question["hook"], question.get("id")) for question in await backend.asked(room)]
    assert questions == [("send", None), *[("edit", id)] * 3]
    client.vanish()
    other.vanish()


async def test_a_join_is_refused_and_so_is_a_resume(asking: ServerProcess) -> None:
    """A user whom the backend refuses comes back by neither; the other channels of the resume are unharmed."""
    refused, free, judged = channel("reject"), f"room:free:{next(_numbers)}", channel("judge")
    client = await chat(asking)
    error = (await client.ask("channel:join", {"channel": refused}))["error"]
    assert (error["code"], error["details"]) == ("permission_denied", {"reason": "Be kind."})
    places = {}
    for room in (free, judged):
        joined = await client.ask("channel:join", {"channel": room})
        places[room] = {name: joined[name] for name in ("epoch", "offset")}
    client.vanish()
    again = await chat(asking, resume=places | {refused: {"epoch": "x", "offset": 0}})
    texts = [json.loads(text.partition(",")[2]) for text in again.unread]
    told = {data["channel"]: (name, data.get("code")) for name, data in texts}
    assert told == {
        free: ("channel:resumed", None),
        judged: ("channel:resumed", None),
        refused: ("channel:removed", "permission_denied"),
    }
    again.vanish()


async def test_no_verdict_is_unavailable_or_let_through(backend: HookBackend, tmp_path: Path) -> None:
    """Whatever is wrong with the answer, in time, as the rule says; and it is counted, and told once."""
    async with ServerProcess(tmp_path, ENV | backend.env) as server:
        await asyncio.gather(*(_unavailable(server, how) for how in FAILURES))
        await asyncio.gather(*(_let_through(server, how) for how in (*FAILURES, "reject")))
        numbers = read(await scraped(server.internal_port))
        outcomes = {"timed_out": 2, "unreachable": 2, "bad_status": 2, "bad_answer": 4, "rejected": 0}
        for outcome, count in outcomes.items():
            assert numbers[f'maru_hook_asks_total{{hook="send",outcome="{outcome}"}}'] == count, outcome
        assert numbers['maru_hook_asks_total{hook="join",outcome="rejected"}'] == 1
        assert numbers['maru_hook_let_through_total{hook="join"}'] == len(FAILURES)
        assert numbers["maru_hook_ask_seconds_count"] == 2 * len(FAILURES) + 1
        assert numbers["maru_hook_asks_in_flight"] == 0
        (line,) = await server.lines_of("hook.no_verdict", 1)
        assert (line["level"], line["hook"], line["count"]) == ("warning", "send", 1)


async def _unavailable(server: ServerProcess, how: str) -> None:
    client, began = await chat(server), time.monotonic()
    answer = await send(client, channel(how))
    assert answer.get("error", {}).get("code") == "unavailable", how
    assert answer["error"]["retryable"]
    assert time.monotonic() - began < IN_TIME_S, how
    client.vanish()


async def _let_through(server: ServerProcess, how: str) -> None:
    client = await chat(server)
    assert (await client.ask("channel:join", {"channel": channel(how, "o")}))["ok"] == (how != "reject"), how
    client.vanish()


async def test_the_order_of_a_session_is_kept(asking: ServerProcess) -> None:
    """Messages with and without a hook, some of them judged slowly, are written and answered in their order."""
    slow, fast, free = channel("slow"), channel("judge"), f"room:free:{next(_numbers)}"
    client = await chat(asking)
    rooms = [free, slow, free, fast, free, slow, fast, free]
    commands = [("message:send", {"channel": room, "text": str(number)}) for number, room in enumerate(rooms)]
    await client.send(b"".join(masked(event(*command, ack=100 + n)) for n, command in enumerate(commands)))
    answers = [await client.ack(100 + number) for number in range(len(rooms))]
    assert all(answer["ok"] for answer in answers)
    times = [answer["message"]["created_at"] for answer in answers]
    assert times == sorted(times)
    client.vanish()


async def test_a_retry_is_asked_about_again(asking: ServerProcess, backend: HookBackend) -> None:
    """The log finds the first message. Messages of the HTTP API are not asked about."""
    room, client = channel("judge"), await chat(asking)
    first, second = [await send(client, room, key="k") for _ in range(2)]
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert len(await backend.asked(room)) == 2
    message = {"author": {"id": "shop"}, "text": "rude"}
    status, _ = await call(asking, "POST", f"/channels/{room}/messages", message)
    assert status == 200
    assert len(await backend.asked(room)) == 2
    client.vanish()


async def test_slow_mode_counts_what_was_judged(asking: ServerProcess) -> None:
    """A message without a verdict can be sent again at once; a rejected one counts."""
    for how, code in (("error", "unavailable"), ("reject", "rate_limited")):
        room, client = channel(how, "s"), await chat(asking)
        assert not (await send(client, room))["ok"]
        assert (await send(client, room))["error"]["code"] == code
        client.vanish()


async def test_an_accepted_join_is_remembered_until_the_user_is_removed(
    asking: ServerProcess, backend: HookBackend
) -> None:
    """Then the backend is asked again."""
    room, client = channel("cache"), await chat(asking)
    for _ in range(2):
        assert (await client.ask("channel:join", {"channel": room}))["ok"]
        await client.ask("channel:leave", {"channel": room})
    assert len(await backend.asked(room)) == 1
    status, _ = await call(asking, "DELETE", f"/channels/{room}/members/alice")
    assert status == 204
    await asyncio.sleep(0)
    for _ in range(50):  # the order reaches the replica within a moment
        assert (await client.ask("channel:join", {"channel": room}))["ok"]
        if len(await backend.asked(room)) == 2:
            break
        await client.ask("channel:leave", {"channel": room})
    assert len(await backend.asked(room)) == 2
    client.vanish()


async def test_a_drain_answers_what_is_asked_about(backend: HookBackend, tmp_path: Path) -> None:
    """A command whose question is under way when the server is told to stop is answered before the close."""
    async with ServerProcess(tmp_path, ENV | backend.env) as server:
        client = await chat(server)
        await client.say(event("message:send", {"channel": channel("slow"), "text": "hi"}, ack=7))
        await client.say(event("message:send", {"channel": channel("hang"), "text": "hi"}, ack=8))
        assert (await client.ack(7))["ok"]
        stopping = asyncio.create_task(server.terminate())
        assert (await client.ack(8))["error"]["code"] == "unavailable"
        await client.closed()
        assert await stopping == 0


async def test_a_client_that_floods_costs_one_question_at_a_time(asking: ServerProcess, backend: HookBackend) -> None:
    """The limits hold, and another user of the channel waits for its own question only."""
    room, flooder, other = channel("slow"), await chat(asking, "mallory"), await chat(asking, "bob")
    await flooder.send(masked(event("message:send", {"channel": room, "text": "x"}, ack=1)) * 300)
    for _ in range(3):
        began = time.monotonic()
        assert (await send(other, room))["ok"]
        assert time.monotonic() - began < IN_TIME_S
        assert read(await scraped(asking.internal_port))["maru_hook_asks_in_flight"] <= 1
    users = [question["user"] for question in await backend.asked(room)]
    assert users.count("mallory") <= 51
    flooder.vanish()
    other.vanish()


async def test_a_backend_that_is_away(asking: ServerProcess, backend: HookBackend) -> None:
    """Connections are refused: no verdict, at once. When it is back, it is asked again."""
    client, room = await chat(asking), channel("judge")
    await backend.stop()
    try:
        began = time.monotonic()
        assert (await send(client, room))["error"]["code"] == "unavailable"
        assert time.monotonic() - began < IN_TIME_S
    finally:
        await backend.start()
    assert (await send(client, room))["ok"]
    client.vanish()


PROGRAMS = {"python": ("hook.py", sys.executable), "js": ("hook.mjs", "node")}


@pytest.mark.parametrize("language", PROGRAMS)
async def test_the_backends_of_the_document(language: str, tmp_path: Path) -> None:
    """Those of PROTOCOL.md run as they stand there, are asked as by a server, and believe nobody who does not sign."""
    name, command = PROGRAMS[language]
    (program,) = examples(section("Hooks"), language)
    (tmp_path / name).write_text(program)
    port = free_port()
    url = f"http://127.0.0.1:{port}/maru"
    environment = os.environ | {"PORT": str(port), "MARU_HOOK_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(command, name, cwd=tmp_path, env=environment, stdout=DEVNULL)
    question = Question(Hook.SEND, UserId("alice"), SessionId("s"), ChannelName("room:1"), "hello")
    try:
        await polled(partial(_listens, port), 20.0, lambda: f"{name} does not listen")
        async with http_hooks(url, [SigningKey.parse(SECRET)], "Maru/test") as hooks:
            assert await hooks.ask(question) == Accept()
            assert await hooks.ask(replace(question, text="a badword")) == Reject("Be kind.")
            assert await hooks.ask(replace(question, hook=Hook.JOIN, text=None)) == Accept()
        async with http_hooks(url, [SigningKey(b"another key, of 32 bytes, as it is")], "Maru/test") as hooks:
            with pytest.raises(NoVerdict):
                await hooks.ask(question)
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
