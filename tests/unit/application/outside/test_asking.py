"""Asking before commands: the verdicts, their absence, the circuit, and accepted joins that are remembered."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from server.application.commands import Edit, Send
from server.application.outside import accepted_joins, asking
from server.application.outside.asking import Asking
from server.application.people.payloads import Publish
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, PermissionDenied, Unauthenticated, Unavailable
from server.domain.hooks import Accept, AskOutcome, Hook, HookFailure, NoVerdict, Question, Reject, Replace, Verdict
from server.domain.identity import Identity, SessionId
from server.domain.rules import Rule, Rules
from server.ports.hooks import ASK_S
from tests.doubles.hooks import HANG, FakeBackend
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.samples import ROOM, identity, some_id
from tests.doubles.virtual_time import virtually

OPEN_ROOM = ChannelName("lounge")
FREE = ChannelName("free")
EVERY = frozenset(Hook)
RULES = Rules({"room:*": Rule(hooks=EVERY), "lounge": Rule(hooks=EVERY, hook_failure=HookFailure.OPEN)})
SEND = Send(channel=ROOM, text="hi", data={"a": 1}, key="k", reply_to="m")
BAD = NoVerdict(AskOutcome.BAD_STATUS, "status 500, expected 200")


@dataclass
class Client:
    """A session."""

    id: SessionId = field(default_factory=lambda: SessionId("s"))
    identity: Identity = field(default_factory=identity)
    ended: bool = False


ALICE = Client()


@dataclass
class Stage:
    """The use case over a backend that a test directs, at a time that a test sets."""

    backend: FakeBackend = field(default_factory=FakeBackend)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.asking = Asking(self.backend, RULES, lambda: self.now, self.metrics)

    def says(self, verdict: Verdict | NoVerdict | str) -> None:
        """Let the backend answer the same from now on."""
        self.backend.answer = lambda _: verdict

    @property
    def outcomes(self) -> list[object]:
        """How asking ended, so far."""
        return [outcome for _, outcome in self.metrics.of("asked")]


def stage(verdict: Verdict | NoVerdict | str = Accept()) -> Stage:  # noqa: B008  # a value
    """A stage whose backend gives this verdict."""
    made = Stage()
    made.says(verdict)
    return made


async def test_questions() -> None:
    """What the backend is asked: the hook, who, where, and the command's content."""
    on = stage()
    await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    assert await on.asking.before_send(ALICE, SEND) is SEND
    edit = Edit(channel=ROOM, id=some_id(1), text="ho")
    assert await on.asking.before_edit(ALICE, edit) is edit
    user = ALICE.identity.user
    publish = Publish(channel=ROOM, name="order", data=[1], key="k")
    assert await on.asking.before_publish(ALICE, publish) is publish
    assert on.backend.asked == [
        Question(Hook.JOIN, user, ALICE.id, ROOM),
        Question(Hook.SEND, user, ALICE.id, ROOM, "hi", {"a": 1}, "k"),
        Question(Hook.EDIT, user, ALICE.id, ROOM, "ho", None, None, some_id(1)),
        Question(Hook.SEND, user, ALICE.id, ROOM, None, [1], "k", name="order"),
    ]
    assert on.outcomes == [AskOutcome.ACCEPTED] * 4
    assert on.asking.in_flight == 0


async def test_nobody_is_asked_without_a_rule() -> None:
    """The command takes effect as it is."""
    on = stage(Reject())
    assert await on.asking.before_join(ALICE.id, ALICE.identity, FREE)
    send, edit = Send(channel=FREE, text="hi"), Edit(channel=FREE, id="m", text="ho")
    assert await on.asking.before_send(ALICE, send) is send
    assert await on.asking.before_edit(ALICE, edit) is edit
    publish = Publish(channel=FREE, name="order", data=1)
    assert await on.asking.before_publish(ALICE, publish) is publish
    assert (on.backend.asked, on.outcomes) == ([], [])


def test_a_hook_that_no_rule_names_costs_nothing() -> None:
    """There is nothing to call."""
    rules = Rules({"room:*": Rule(hooks=frozenset({Hook.SEND}))})
    some = Asking(FakeBackend(), rules, lambda: 0.0)
    asks = some.asker(Hook.SEND)
    assert asks is not None
    assert asks(ROOM)
    assert not asks(FREE)
    assert some.asker(Hook.JOIN) is None


@pytest.mark.parametrize("reason", ["be kind", None])
async def test_a_rejection(reason: str | None) -> None:
    """The client gets the backend's reason; with either fate of failures."""
    on = stage(Reject(reason))
    for channel in (ROOM, OPEN_ROOM):
        with pytest.raises(PermissionDenied) as refused:
            await on.asking.before_send(ALICE, Send(channel=channel, text="hi"))
        assert refused.value.details == {"reason": reason}
        with pytest.raises(PermissionDenied):
            await on.asking.before_join(ALICE.id, ALICE.identity, channel)
    assert on.outcomes == [AskOutcome.REJECTED] * 4


async def test_a_replacement() -> None:
    """Text and data are replaced, absent data by none; what else the command has stays."""
    on = stage(Replace({"text": "ha", "data": {"b": 2}}))
    assert await on.asking.before_send(ALICE, SEND) == Send(
        channel=ROOM, text="ha", data={"b": 2}, key="k", reply_to="m"
    )
    on.says(Replace({"text": "ha"}))
    assert (await on.asking.before_send(ALICE, SEND)).data is None
    assert on.outcomes == [AskOutcome.REPLACED] * 2


async def test_a_replacement_of_an_event() -> None:
    """Its data, of any kind, within the bounds; name, key and log stay."""
    on = stage(Replace({"data": ["ha"], "text": None}))
    publish = Publish(channel=ROOM, name="order", data=1, key="k", log=False)
    assert await on.asking.before_publish(ALICE, publish) == publish.model_copy(update={"data": ["ha"]})
    on.says(Replace({"data": "x" * 9_000}))
    with pytest.raises(Unavailable):
        await on.asking.before_publish(ALICE, publish)


async def test_a_replacement_of_an_edit() -> None:
    """Absent data is as in an edit: the message keeps its own; null removes it."""
    on = stage(Replace({"text": "ha"}))
    edit = Edit.parse({"channel": ROOM, "id": "m", "text": "ho"})
    kept = await on.asking.before_edit(ALICE, edit)
    assert (kept.text, kept.id, kept.keeps_data) == ("ha", "m", True)
    on.says(Replace({"text": "ha", "data": None}))
    removed = await on.asking.before_edit(ALICE, edit)
    assert (removed.data, removed.keeps_data) == (None, False)


@pytest.mark.parametrize(
    "content",
    [{"text": "x" * 4_001}, {"text": ""}, {"text": 5}, {"text": "\x00"}, {"text": "x", "data": {"a": "b" * 9_000}}],
)
async def test_a_replacement_out_of_bounds_is_no_verdict(content: dict[str, object]) -> None:
    """The bounds are those of the command; its own content is not taken in its place."""
    on = stage(Replace(content))
    with pytest.raises(Unavailable):
        await on.asking.before_send(ALICE, SEND)
    assert on.outcomes == [AskOutcome.BAD_ANSWER]


async def test_a_join_has_no_content_to_replace() -> None:
    """Such an answer is no verdict."""
    on = stage(Replace({"text": "ha"}))
    with pytest.raises(Unavailable):
        await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    assert on.outcomes == [AskOutcome.BAD_ANSWER]


async def test_without_a_verdict() -> None:
    """Closed: refused, and the client retries. Open: let through as it is, and counted."""
    on = stage(BAD)
    with pytest.raises(Unavailable):
        await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    with pytest.raises(Unavailable):
        await on.asking.before_send(ALICE, SEND)
    assert not await on.asking.before_join(ALICE.id, ALICE.identity, OPEN_ROOM)
    send = Send(channel=OPEN_ROOM, text="hi")
    assert await on.asking.before_send(ALICE, send) is send
    assert on.metrics.of("let_through") == [(Hook.JOIN,), (Hook.SEND,)]
    assert on.outcomes == [AskOutcome.BAD_STATUS] * 4


async def test_a_session_that_ends_meanwhile_sends_nothing() -> None:
    """Whatever the verdict is."""
    on, client = stage(), replace(ALICE)
    on.backend.on_ask = lambda: setattr(client, "ended", True)
    with pytest.raises(Unauthenticated):
        await on.asking.before_send(client, SEND)


async def twenty_fail(on: Stage, ask: Callable[[], Awaitable[object]]) -> None:
    """Let the backend fail until the circuit opens."""
    on.says(BAD)
    for _ in range(20):
        with pytest.raises(Unavailable):
            await ask()


async def test_the_circuit(capsys: pytest.CaptureFixture[str]) -> None:
    """After many failures nobody is asked for five seconds, by this hook alone; then a probe closes it."""
    on = stage()

    async def send() -> object:
        return await on.asking.before_send(ALICE, SEND)

    await twenty_fail(on, send)
    assert on.asking.open == {Hook.SEND}
    on.says(Accept())
    with pytest.raises(Unavailable):
        await send()
    assert on.outcomes[-1] is AskOutcome.CIRCUIT_OPEN
    assert len(on.backend.asked) == 20
    assert await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    on.now += 5.0
    assert await send() is SEND
    assert on.asking.open == frozenset()
    said = capsys.readouterr().out
    assert said.count("hook.no_verdict") == 1  # the first of many within five seconds
    assert said.count("hook.circuit_opened") == said.count("hook.circuit_closed") == 1


def test_too_many_at_once() -> None:
    """At most 256 questions are under way; further commands are refused, and room is made by the answers."""

    async def scenario() -> None:
        on = stage(HANG)
        on.asking.clock = asyncio.get_running_loop().time
        asks = [asyncio.ensure_future(on.asking.before_send(ALICE, SEND)) for _ in range(asking.MAX_ASKS)]
        await asyncio.sleep(0.1)
        assert on.asking.in_flight == asking.MAX_ASKS
        with pytest.raises(Overloaded):
            await on.asking.before_send(ALICE, SEND)
        assert on.outcomes == [AskOutcome.OVERLOADED]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert asyncio.get_running_loop().time() <= ASK_S + 0.1
        assert on.asking.in_flight == 0

    virtually(scenario)


async def test_a_command_that_ends_first() -> None:
    """Its question is given up: no failure, and a probe makes room for another."""
    on = stage(HANG)
    ask = asyncio.ensure_future(on.asking.before_send(ALICE, SEND))
    await asyncio.sleep(0)
    ask.cancel()
    await asyncio.gather(ask, return_exceptions=True)
    assert on.outcomes == [AskOutcome.GIVEN_UP]
    assert on.asking.in_flight == 0


async def test_an_accepted_join_is_remembered() -> None:
    """For as long as the backend says, of this user in this channel; then it is asked again."""
    on = stage(Accept(cache_s=10))
    other = identity("bob")
    for _ in range(2):
        assert await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    await on.asking.before_join(ALICE.id, other, ROOM)
    await on.asking.before_join(ALICE.id, ALICE.identity, OPEN_ROOM)
    assert on.outcomes == [AskOutcome.ACCEPTED, AskOutcome.REMEMBERED, *[AskOutcome.ACCEPTED] * 2]
    on.now += 10
    assert await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    assert on.outcomes[-1] is AskOutcome.ACCEPTED


async def test_a_removed_user_is_asked_about_again() -> None:
    """Also if the acceptance was on its way when the user was removed."""
    on = stage(Accept(cache_s=10))
    user = ALICE.identity.user
    await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    on.asking.accepted.forget(user, ROOM)
    on.backend.on_ask = lambda: on.asking.accepted.forget(user, ROOM)
    await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    on.says(Reject())
    with pytest.raises(PermissionDenied):
        await on.asking.before_join(ALICE.id, ALICE.identity, ROOM)
    assert len(on.backend.asked) == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; keeping one again makes it the newest."""
    monkeypatch.setattr(accepted_joins, "REMEMBERED", 2)
    joins = accepted_joins.AcceptedJoins()
    users = [identity(name).user for name in "abc"]
    for user in (users[0], users[1], users[0], users[2]):
        joins.keep(user, ROOM, 10.0)
    assert [joins.holds(user, ROOM, 9.0) for user in users] == [True, False, True]
    assert len(joins) == 2
