"""The lead of an endpoint: when the endpoint is open, and from where."""

import asyncio

import pytest

from server.application.outside.webhooks.dispatchers import OPEN_S
from server.application.outside.webhooks.leading import RENEW_S
from server.domain.replicas import ReplicaId
from server.ports.webhooks import OPEN_AGAIN_S
from tests.doubles.virtual_time import virtually
from tests.doubles.webhooks import WebhookStage


@pytest.mark.parametrize("follows", [False, True])
def test_a_store_that_has_lost_an_endpoint_loses_no_event(*, follows: bool) -> None:
    """What is written before the endpoint is open again is owed all the same, also if another replica leads by then."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running() as one, stage.running("two"):
            await stage.send("a")
            await stage.settled()
            await asyncio.sleep(RENEW_S)
            stage.log.debts.patterns.clear()
            await stage.send("a", 2)
            if follows:
                await one.stop(1)
            await asyncio.sleep(OPEN_AGAIN_S + RENEW_S)
            await stage.settled()
        assert list(dict.fromkeys(stage.receiver.offsets("a"))) == [1, 2, 3]

    virtually(scenario)


def test_a_new_endpoint_begins_now_whoever_leads_it() -> None:
    """The replica that led first has ended at once."""

    async def scenario() -> None:
        stage = WebhookStage()
        await stage.send("a")
        await stage.store.lead("crm", ReplicaId("other"))
        async with stage.running():
            await stage.store.hand_over("crm", ReplicaId("other"))
            await asyncio.sleep(RENEW_S)
            await stage.send("a")
            await stage.settled()
        assert stage.receiver.offsets("a") == [2]

    virtually(scenario)


def test_a_start_waits_until_endpoints_are_open() -> None:
    """But not for ever: a store that is away says nothing."""

    async def scenario() -> None:
        stage = WebhookStage()
        began = stage.clocks.monotonic()
        async with stage.running() as one, stage.running("two") as two:
            await one.opened()
            await two.opened()
            assert stage.clocks.monotonic() - began < 1
        dispatchers, _ = stage.replica("three")  # which does not run
        began = stage.clocks.monotonic()
        await dispatchers.opened()
        assert stage.clocks.monotonic() - began == OPEN_S

    virtually(scenario)
