"""Debts in the log's file beyond the contract: endpoints that nobody opens, a start with what many channels hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.adapters.sqlite import debts, webhooks
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.webhooks import SqliteWebhooks
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter
from server.domain.messages import Position
from server.ports.webhooks import FORGOTTEN_S
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message
from tests.harness.waiting import polled

DEADLINE_S = 10.0
CHANNELS = [ChannelName(f"room:{number}") for number in range(7)]


@asynccontextmanager
async def owing(path: Path, clock: Clock) -> AsyncIterator[tuple[SqliteMessageLog, SqliteWebhooks]]:
    """A log that sweeps all the time, with a message in each channel at the end."""
    log = SqliteMessageLog(
        path,
        max_events=100,
        max_age_ms=10_000 * HOUR_MS,
        now_ms=clock,
        monotonic_ms=clock,
        sweep_interval_s=0.02,
    )
    async with log:
        yield log, SqliteWebhooks(log, clock)


async def fill(log: SqliteMessageLog, first: int) -> None:
    """Append a message to each channel."""
    numbers = enumerate(CHANNELS, first)
    await asyncio.gather(*(log.append(new_message(number, channel)) for number, channel in numbers))


async def test_an_endpoint_that_nobody_opens_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week, in steps, with debts and letters; one that is opened again stays."""
    monkeypatch.setattr(debts, "STEP_ROWS", 2)
    clock = Clock()
    async with owing(tmp_path / "maru.db", clock) as (log, hooks):
        await hooks.open("old")
        await hooks.open("used")
        await fill(log, 1)
        page, _ = await hooks.debts("old", None, 1)
        letter = DeadLetter("", page[0].channel, page[0].delivered.epoch, 1, 1, "no", NOW_MS)
        assert await hooks.bury("old", page[0].delivered, letter, Position(letter.epoch, 1))
        clock.now += round(FORGOTTEN_S * 1_000) - HOUR_MS
        assert not await hooks.open("used")
        clock.now += 2 * HOUR_MS

        async def forgotten() -> bool:
            return not await hooks.owed("old") and not await hooks.dead("old", None, 1)

        await polled(forgotten, DEADLINE_S, lambda: "the endpoint is forgotten")
        assert await hooks.owed("used") == len(CHANNELS)
        await fill(log, 100)
        assert await hooks.owed("old") == 0
        assert await hooks.open("old")


async def test_a_start_at_the_beginning_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes several steps; those that were done stay done, and appends meanwhile owe from the floor."""
    monkeypatch.setattr(webhooks, "STEP_CHANNELS", 2)
    clock = Clock()
    async with owing(tmp_path / "maru.db", clock) as (log, hooks):
        await fill(log, 1)
        opening = asyncio.ensure_future(hooks.open("crm", from_start=True))
        while not await hooks.owed("crm"):
            await asyncio.wait([opening], timeout=0.001)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
    async with owing(tmp_path / "maru.db", clock) as (log, hooks):
        await fill(log, 100)
        await hooks.open("crm", from_start=True)
        page, _ = await hooks.debts("crm", None, 100)
        assert sorted(debt.channel for debt in page) == CHANNELS
        assert {debt.delivered.offset for debt in page} == {0}
