"""The rates that are on by default, on a real server: what passes, what is refused, and what a refusal says."""

import asyncio
import itertools
import json
from collections import Counter

import pytest

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.scrape import scraped
from tests.harness.server import LIMITS
from tests.harness.tokens import token
from tests.harness.waiting import pause
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {
    **LIMITS,
    "MARU_MESSAGE_LOG": "memory",
    "MARU_LIMIT_TIERS": json.dumps(
        {"free": {"session": [0, 0], "send_user": [0, 0]}, "slow": {"send_user": [4, 2]}, "few": {"session": [1, 3]}}
    ),
    "MARU_CHANNEL_RULES": '{"room:slow:*": {"slow_mode_s": 1}, "room:slower:*": {"slow_mode_s": 10}}',
}

SEND = {"channel": "room:limits", "text": "x"}
GRANTS = {"room:*": ["join", "send"], "mod:*": ["join", "send", "moderate"]}

PAYLOADS = {
    "message:send": SEND,
    "message:edit": {"channel": "room:limits", "id": "x", "text": "y"},
    "message:delete": {"channel": "room:limits", "id": "x"},
    "channel:join": {"channel": "room:limits"},
    "channel:leave": {"channel": "room:limits"},
    "history:read": {"channel": "room:limits"},
    "auth:refresh": {"token": "x"},
}


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def own_channel() -> None:
    """Each test writes to a channel of its own, which has a rate, too."""
    SEND["channel"] = f"room:limits-{next(_numbers)}"


def piece(*commands: tuple[str, object], first: int = 0) -> bytes:
    """Commands with ack ids that count up from `first`, in one piece."""
    return b"".join(masked(event(name, payload, ack=first + n)) for n, (name, payload) in enumerate(commands))


async def answered(client: RawSocket, count: int, first: int = 0) -> list[str]:
    """`ok` or the code of so many answers, in order."""
    answers = [await client.ack(first + number) for number in range(count)]
    return ["ok" if answer["ok"] else answer["error"]["code"] for answer in answers]


@pytest.mark.parametrize(
    ("name", "bucket", "burst"),
    [
        ("message:send", "send_user", 50),
        ("message:edit", "send_user", 50),
        ("message:delete", "send_user", 50),
        ("history:read", "read_session", 100),
        ("channel:join", "session", 200),
        ("channel:leave", "session", 200),
        ("auth:refresh", "refresh_session", 5),
    ],
)
async def test_a_burst_of_each_command(scene: Scene, name: str, bucket: str, burst: int) -> None:
    """As many as its tightest bucket holds are judged by their content; the rest is refused, names the bucket, and
    waits no longer than one of them takes to be earned."""
    rates = {"session": 50, "send_user": 10, "read_session": 20, "refresh_session": 0.1}
    client = await scene.chat(f"bursts-{name}")
    await client.send(piece(*[(name, PAYLOADS[name])] * (burst + 8)))
    answers = [await client.ack(number) for number in range(burst + 8)]
    refused = [answer["error"] for answer in answers if not answer["ok"] and answer["error"]["code"] == "rate_limited"]
    assert len(refused) == pytest.approx(8, abs=2)  # a few may have been earned meanwhile
    for error in refused:
        assert error["retryable"] is True
        assert error["details"] == {"limit": bucket}
        assert 1 <= error["retry_after_ms"] <= 1_000 / rates[bucket] + 10
    await client.leave()


async def test_a_wait_as_told_passes(scene: Scene) -> None:
    """Neither more nor less than one send is earned by it, and the refused one was not written."""
    client = await scene.chat(token=token("slow", tier="slow"))
    joined = await client.ask("channel:join", {"channel": "room:waits"})
    for _ in range(3):
        await client.send(piece(*[("message:send", SEND | {"channel": "room:waits"})] * 4, first=1000))
        answers = [await client.ack(1000 + number) for number in range(4)]
        refused = [answer["error"] for answer in answers if not answer["ok"]]
        assert len(refused) >= 2
        await pause(asyncio.Event(), refused[-1]["retry_after_ms"] / 1_000)
        assert (await client.ask("message:send", SEND | {"channel": "room:waits"}))["ok"]
    history = await client.ask("history:read", {"channel": "room:waits"})
    passed = 2 + 1 + 2 * (0 + 1)  # the burst, and one for each wait
    assert history["offset"] - joined["offset"] in range(passed, passed + 3)
    await client.leave()


async def test_a_user_has_one_bucket_for_all_sessions(scene: Scene) -> None:
    """What a session has sent is missing in the others, and in no other user's."""
    first, second, other = [await scene.chat(name) for name in ("twice", "twice", "once")]
    await first.send(piece(*[("message:send", SEND)] * 50))
    assert await answered(first, 50) == ["ok"] * 50
    await second.send(piece(*[("message:send", SEND)] * 20))
    assert (await answered(second, 20)).count("rate_limited") >= 15
    assert (await other.ask("message:send", SEND))["ok"]
    for client in (first, second, other):
        await client.leave()


async def test_a_tier_replaces_rates(scene: Scene) -> None:
    """By the token's claim; an unknown tier, or one that is no name, is the defaults; a refresh may change it."""
    few = await scene.chat(token=token("few", tier="few"))
    await few.send(piece(*[("channel:leave", PAYLOADS["channel:leave"])] * 5))
    assert (await answered(few, 5)).count("rate_limited") == 2
    for tier in ("unknown", 5, ["free"]):
        client = await scene.chat(token=token(f"tier-{tier}", tier=tier))
        await client.send(piece(*[("message:send", SEND)] * 60))
        assert (await answered(client, 60)).count("ok") in range(50, 53)
        assert (await client.ask("auth:refresh", {"token": token(f"tier-{tier}", tier="free")}))["ok"]
        await client.send(piece(*[("message:send", SEND)] * 60, first=100))
        assert await answered(client, 60, first=100) == ["ok"] * 60
        await client.leave()
    await few.leave()


@pytest.mark.parametrize(
    "packet",
    [
        '42/chat,7["message\\u003asend",{"channel":"room:limits","text":"x"}]',
        '42/chat,7[ "message:send" , {"channel":"room:limits","text":"x"}]',
        '42/chat?x=",7["message:send",{"channel":"room:limits","text":"x"}]',
        '42/chat?,7["message:send",{"channel":"room:limits","text":"x"}]',
        '42/chat,["message:send",{"channel":"room:limits","text":"x"}]',
        "42/chat,7[" + " " * 40 + '"message:send",{"channel":"room:limits","text":"x"}]',
        "42/chat,7[" + " " * 5_000 + '"message:send",{"channel":"room:limits","text":"x"}]',
        "42/chat,7" + "\t" * 300 + "[" + "\n" * 300 + '"message:send",{"channel":"room:limits","text":"x"}]',
    ],
    ids=["escaped", "spaced", "quoted query", "query", "without an ack id", "behind", "far behind", "far apart"],
)
async def test_no_spelling_of_a_send_gets_around_its_bucket(scene: Scene, packet: str) -> None:
    """A name is what the parser makes of it. Of a command without an ack id nothing is said."""
    client = await scene.chat("spells")
    watcher = await scene.chat(token=token("watches", tier="free"))
    before = (await watcher.ask("channel:join", {"channel": "room:limits"}))["offset"]
    await client.send(masked(packet) * 120 + piece(("message:send", SEND), first=1))
    assert (await client.ack(1))["error"]["details"] == {"limit": "send_user"}
    written = (await watcher.ask("channel:join", {"channel": "room:limits"}))["offset"] - before
    assert written <= 53
    for each in (client, watcher):
        await each.leave()


async def test_the_sends_that_pass_are_the_first(scene: Scene) -> None:
    """Of what is read at once, nothing behind a refused send is written; the answers keep their order."""
    client = await scene.chat("orders")
    commands = [("message:send", SEND | {"key": str(number)}) for number in range(150)]
    await client.send(piece(*commands))
    codes = await answered(client, 150)
    passed = codes.count("ok")
    assert passed in range(50, 53)
    assert codes == ["ok"] * passed + ["rate_limited"] * (150 - passed)
    await client.leave()


async def test_other_commands_behind_a_refused_send(scene: Scene) -> None:
    """They have buckets of their own, are done, and are answered in their turn."""
    client = await scene.chat("mixes")
    reading = ("history:read", {"channel": "room:limits"})
    await client.send(piece(*[("message:send", SEND)] * 55, reading, ("message:send", SEND), reading))
    codes = await answered(client, 58)
    assert codes[55:] == ["ok", "rate_limited", "ok"]
    await client.leave()


async def test_commands_that_come_with_the_connect_are_judged(scene: Scene) -> None:
    """Those that wait for the session are taken from its buckets, too."""
    client = await scene.open()
    opening = masked("40/chat," + json.dumps({"token": token("early"), "resume": {}}))
    await client.send(opening + piece(*[("message:send", SEND)] * 60))
    assert (await client.text()).startswith("40/chat,")
    codes = await answered(client, 60)
    assert codes.count("ok") in range(50, 53), Counter(codes)
    await client.leave()


REFUSED = {
    "no such command": ("no:command", {}),
    "malformed": ("channel:leave", {"channel": "NO"}),
    "not granted": ("message:send", {"channel": "ops", "text": "x"}),
}


@pytest.mark.parametrize(("name", "payload"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("asks", [True, False], ids=["with an ack", "without"])
async def test_two_hundred_refusals_end_a_session(scene: Scene, name: str, payload: object, asks: bool) -> None:
    """Once, with a reason, a DISCONNECT and 1008; whether the client wanted answers or not."""
    client = await scene.chat(token=token(f"errs-{name}-{asks}", tier="free"))
    await client.send(b"".join(masked(event(name, payload, ack=1000 + n if asks else None)) for n in range(199)))
    assert (await client.ask("channel:join", {"channel": "room:limits"}))["ok"]
    client.push(masked(event(name, payload)) * 300)
    frame = await client.closed()
    assert (frame.code, frame.reason) == (1008, "terminated: rate_limited")
    told = Counter(text.partition("[")[0] + text.partition("[")[2][:20] for text in client.unread)
    assert told['42/chat,"session:terminated"'] == 1
    assert client.unread[-1] == "41/chat,"
    assert json.loads(client.unread[-2][len("42/chat,") :])[1]["code"] == "rate_limited"
    await scene.clean()


async def test_refusals_by_rates_end_a_session(scene: Scene) -> None:
    """A client that goes on and on is not answered for ever."""
    client = await scene.chat("goes-on")
    client.push(piece(*[("message:send", SEND)] * 400))
    assert (await client.closed()).code == 1008
    await scene.clean()


@pytest.mark.parametrize("packet", ["43/chat,1[]", "43/chat,1[[[]]]", "41/other,", "41"])
async def test_what_means_nothing_is_counted_too(scene: Scene, packet: str) -> None:
    """Acks, of which the server has asked for none, and goodbyes of other namespaces: a few are ignored, a flood ends
    the session, and nothing is said of a single one."""
    client = await scene.chat(f"means-nothing-{packet}")
    client.push(masked(packet) * 150)
    assert (await client.ask("channel:leave", {"channel": "room:limits"}))["ok"]
    client.push(masked(packet) * 400)
    assert (await client.closed()).code == 1008
    assert [text[:13] for text in client.unread] == ['42/chat,["ses', "41/chat,"]
    await scene.clean()


async def test_they_are_counted(scene: Scene) -> None:
    """By command and bucket, with or without an answer."""

    async def count() -> float:
        text = await scraped(scene.server.internal_port)
        wanted = 'maru_rate_limited_total{command="history:read",scope="read_session"}'
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(wanted))

    client = await scene.chat("counts")
    before = await count()
    await client.send(masked(event("history:read", {})) * 130)
    assert not (await client.ask("history:read", {}))["ok"]
    assert await count() - before in range(28, 32)
    await client.leave()


async def test_slow_mode(scene: Scene) -> None:
    """A second message of a user waits; a repeated one, and one elsewhere, does not; the refused have cost nothing."""
    client = await scene.chat("hasty")
    slower = {"channel": "room:slower:1", "text": "x", "key": "k"}
    assert (await client.ask("message:send", slower))["ok"]
    assert (await client.ask("message:send", slower))["duplicate"]
    for number in range(60):
        error = (await client.ask("message:send", slower | {"key": str(number)}))["error"]
        assert (error["code"], error["details"]) == ("rate_limited", {"limit": "slow_mode"})
    assert (await client.ask("message:send", SEND))["ok"]
    moderator = await scene.chat(token=token("mod", {"room:*": ["send", "moderate"]}))
    for number in range(5):
        assert (await moderator.ask("message:send", slower | {"key": str(number)}))["ok"]
    for each in (client, moderator):
        await each.leave()


async def test_slow_mode_waits_no_longer_than_it_says(scene: Scene) -> None:
    """Whichever of several sends was refused."""
    client = await scene.chat("patient")
    slow = {"channel": "room:slow:1", "text": "x"}
    await client.send(piece(*[("message:send", slow)] * 2, first=1_000))
    assert (await client.ack(1_000))["ok"]
    error = (await client.ack(1_001))["error"]
    assert error["details"] == {"limit": "slow_mode"}
    assert 1 <= error["retry_after_ms"] <= 1_000
    await pause(asyncio.Event(), error["retry_after_ms"] / 1_000)
    assert (await client.ask("message:send", slow))["ok"]
    await client.leave()


async def test_a_channel_takes_so_many_events_of_all(scene: Scene) -> None:
    """Of many users together; the refused have cost their own buckets nothing, and keep their order."""
    crowd = [await scene.chat(token=token(f"crowd-{number}", tier="free")) for number in range(5)]
    channel = {"channel": "room:crowded", "text": "x"}
    for client in crowd:
        client.push(piece(*[("message:send", channel)] * 120))
    codes = [await answered(client, 120) for client in crowd]
    passed = sum(code == "ok" for each in codes for code in each)
    assert passed in range(400, 480)
    assert "rate_limited" in {code for each in codes for code in each}
    for each in codes:
        assert each == sorted(each, key=lambda code: code != "ok")
    text = await scraped(scene.server.internal_port)
    assert 'maru_rate_limited_total{command="message:send",scope="channel"}' in text
    for client in crowd:
        client.vanish()
