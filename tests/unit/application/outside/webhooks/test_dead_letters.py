"""Dead letters: listed, and sent again."""

import asyncio

import pytest

from server.application.outside.webhooks import dead_letters as letters
from server.application.outside.webhooks.dead_letters import DeadLetters
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Replayed
from server.domain.errors import NotFound
from server.domain.messages import Position
from server.domain.webhooks import Answer, Endpoint, Outcome, types_of
from tests.doubles.virtual_time import virtually
from tests.doubles.webhooks import KEYS, OK, Request, WebhookStage, always


def everything(_: DeadLetter) -> bool:
    """Every letter is wanted."""
    return True


async def refused(stage: WebhookStage, count: int) -> DeadLetters:
    """Let the endpoint refuse every message of a channel; return the dead letters of the replica."""
    stage.receiver.rule = always(Outcome.REFUSED, 400)
    async with stage.running():
        await stage.send("a", count)
        await stage.settled(100_000)
    _, dead = stage.replica()
    assert len(await dead.page("crm", None, 1_000)) == count
    return dead


def test_letters_are_sent_again_with_their_ids() -> None:
    """In their order; they are dead no longer."""

    async def scenario() -> None:
        stage = WebhookStage()
        dead = await refused(stage, 3)
        ids = list(dict.fromkeys(request.id for request in stage.receiver.requests))
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        assert await dead.replay("crm", everything) == Replayed(replayed=3)
        assert [request.id for request in stage.receiver.taken] == ids
        assert stage.receiver.offsets("a") == [1, 2, 3]
        assert not await dead.page("crm", None, 10)
        assert await dead.replay("crm", everything) == Replayed()

    virtually(scenario)


def test_some_letters_are_sent_again() -> None:
    """Those that are wanted, such as those of a time; the others stay."""

    async def scenario() -> None:
        stage = WebhookStage()
        dead = await refused(stage, 3)
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        assert await dead.replay("crm", lambda letter: letter.first == 2) == Replayed(replayed=1)
        assert [letter.first for letter in await dead.page("crm", None, 10)] == [1, 3]
        assert [letter.first for letter in await dead.page("crm", None, 1)] == [1]

    virtually(scenario)


def test_a_failure_ends_the_replay() -> None:
    """The letter and those behind it stay."""

    async def scenario() -> None:
        stage = WebhookStage()
        dead = await refused(stage, 3)

        def rule(request: Request) -> Answer:
            return OK if request.offsets == [1] else Answer(Outcome.FAILED, 500)

        stage.receiver.rule = rule
        assert await dead.replay("crm", everything) == Replayed(replayed=1, failed="failed (500)", more=True)
        assert [letter.first for letter in await dead.page("crm", None, 10)] == [2, 3]

    virtually(scenario)


def test_letters_whose_events_are_gone() -> None:
    """They are forgotten, and counted: retention, another epoch, or events that the endpoint does not want by now."""

    async def scenario() -> None:
        stage = WebhookStage(max_events=3)
        dead = await refused(stage, 3)
        await stage.send("a", 2)
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        assert await dead.replay("crm", everything) == Replayed(replayed=1, gone=2)

        await stage.send("b", 2)
        await bury(stage, "b", 0, epoch="another")
        assert await dead.replay("crm", everything) == Replayed(gone=1)

        await bury(stage, "b", 1)
        stage.endpoints = (Endpoint("crm", "https://example.com", KEYS, types_of(["message.deleted"])),)
        assert await stage.replica()[1].replay("crm", everything) == Replayed(gone=1)

    virtually(scenario)


async def bury(stage: WebhookStage, channel: str, at: int, epoch: str | None = None) -> None:
    """Bury the channel's next event."""
    name = ChannelName(channel)
    real = (await stage.log.read(name, 0, 0)).head.epoch
    letter = DeadLetter("", name, epoch or real, at + 1, at + 1, "a test", 1)
    assert await stage.store.bury("crm", Position(real, at), letter, Position(real, at + 1))


def test_a_replay_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In letters and in time; it tells that there are more."""

    async def scenario() -> None:
        stage = WebhookStage()
        dead = await refused(stage, 8)
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        assert await dead.replay("crm", everything) == Replayed(replayed=3, more=True)
        stage.receiver.took_s = 3.0
        assert await dead.replay("crm", everything) == Replayed(replayed=2, more=True)
        stage.receiver.took_s = 0.0
        assert await dead.replay("crm", everything) == Replayed(replayed=3)
        await asyncio.sleep(0)

    monkeypatch.setattr(letters, "MAX_REPLAYED", 3)
    monkeypatch.setattr(letters, "_PAGE", 2)
    virtually(scenario)


def test_a_replay_to_an_endpoint_that_hangs() -> None:
    """It is answered before its caller gives up: as a failure, unless letters before were taken."""

    async def scenario() -> None:
        stage = WebhookStage()
        dead = await refused(stage, 3)
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        stage.receiver.took_s = 60.0
        began = stage.clocks.monotonic()
        assert await dead.replay("crm", everything) == Replayed(failed="timed_out", more=True)
        assert stage.clocks.monotonic() - began == letters.ANSWER_S
        stage.receiver.took_s = 4.9
        assert await dead.replay("crm", everything) == Replayed(replayed=1, more=True)
        assert len(await dead.page("crm", None, 10)) == 2

    virtually(scenario)


def test_a_batch_is_sent_again_as_a_batch() -> None:
    """Also if the endpoint takes single events by now: its id is that of the batch."""

    async def scenario() -> None:
        stage = WebhookStage(Endpoint("crm", "https://example.com", KEYS, batch=10))
        await stage.store.open("crm")
        await stage.send("a", 3)
        stage.receiver.rule = always(Outcome.REFUSED, 400)
        async with stage.running():
            await stage.settled()
        stage.receiver.rule = always(Outcome.ACCEPTED, 200)
        stage.endpoints = (Endpoint("crm", "https://example.com", KEYS),)
        assert await stage.replica()[1].replay("crm", everything) == Replayed(replayed=1)
        assert stage.receiver.taken[0].offsets == [1, 2, 3]
        assert stage.receiver.taken[0].id == stage.receiver.requests[0].id

    virtually(scenario)


def test_an_unknown_endpoint() -> None:
    """It has no letters, rather than none at the moment."""

    async def scenario() -> None:
        _, dead = WebhookStage().replica()
        with pytest.raises(NotFound, match="no webhook is named 'nobody'"):
            await dead.page("nobody", None, 10)
        with pytest.raises(NotFound):
            await dead.replay("nobody", everything)

    virtually(scenario)
