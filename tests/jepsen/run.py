"""Clients at work on a stage while a nemesis makes faults; then peace, an audit of the log, and the verdict."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.harness.waiting import pause
from tests.jepsen.checker import Verdict, check
from tests.jepsen.clients import Author, Client, Pager, Reader, Scene, Streamer
from tests.jepsen.history import History
from tests.jepsen.nemesis import DECKS, Nemesis, deck
from tests.jepsen.people import Announcer, Fan, Marker
from tests.jepsen.stage import SERVER, STAGES, Stage

CHANNELS = ("room:a", "room:b", "room:c")

PEACE_S = 40.0
"""In which every message under way is answered, and every reader has caught up, once the faults have ended."""

VANISHES = 0.03
HANGS_S = 180.0
"""So long after its time a round that has not ended is a fault of the harness, and raises `TimeoutError`."""

STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: a stage, for how long, by which seed. `faults` replace those of the stage; `program` is Python's
    arguments for a replica. `peace_s` bounds the waits when the faults have ended, `vanishes` is
    that of `Scene`."""

    stage: str
    seconds: float
    seed: int
    faults: Sequence[str] | None = None
    peace_s: float = PEACE_S
    vanishes: float = VANISHES
    program: Sequence[str] = SERVER


async def run(plan: Plan, folder: Path) -> Verdict:
    """Run a plan; its history is written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    servers = folder / "servers"
    servers.mkdir()
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(STAGES[plan.stage](servers, plan.program))
        history = stack.enter_context(History(folder / "history.jsonl"))
        async with asyncio.timeout(plan.seconds + 3 * plan.peace_s + HANGS_S):
            await _play(plan, stage, history)
    return check(history.records)


async def _play(plan: Plan, stage: Stage, history: History) -> None:
    scene = Scene(history, stage.ports, CHANNELS, plan.seed, plan.vanishes)
    authors = [Author(scene, f"author-{number}", moderates=number == 0) for number in range(4)]
    streamers = [Streamer(scene, f"streamer-{number}") for number in range(2)]
    readers = [Reader(scene, f"reader-{number}") for number in range(3)]
    readers += [Reader(scene, f"visitor-{number}", stays_s=(0.2, 2.0)) for number in range(3)]
    markers = [Marker(scene, f"marker-{number}") for number in range(2)]
    announcers = [Announcer(scene, f"announcer-{number}") for number in range(2)]
    people = [*markers, *announcers, *(Fan(scene, f"fan-{number}") for number in range(3))]
    others: list[Client] = [*readers, Pager(scene, "pager")]
    shims = all(replica.shim.works for replica in stage.replicas)
    faults = deck(DECKS[plan.stage] if plan.faults is None else plan.faults, shims=shims)
    nemesis = Nemesis(stage, history, plan.seed, faults, CHANNELS)
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(author.run()) for author in (*authors, *streamers, *people)]
        for client in others:
            tasks.create_task(client.run())
        at_work = tasks.create_task(nemesis.run(scene.over)) if faults else None
        await pause(scene.over, plan.seconds)
        scene.over.set()
        if at_work is not None:
            await at_work
        await asyncio.wait(writing, timeout=plan.peace_s)
        await _peace(scene, readers, plan.peace_s)
        await _count_people(scene, announcers[0], markers)
        scene.done.set()


async def _count_people(scene: Scene, announcer: Announcer, markers: Sequence[Marker]) -> None:
    """Note all events of applications, and what is unread."""
    for channel in scene.channels:
        await announcer.audit(channel)
        for marker in markers:
            await marker.look(channel)
    for client in (announcer, *markers):
        await client.vanish()


async def _peace(scene: Scene, readers: Sequence[Reader], peace_s: float) -> None:
    """Wait until every reader stands at the head of the log, then note the whole log. After `peace_s` the log is noted
    all the same: the checker tells the readers that are behind."""
    auditor = Pager(replace(scene, over=asyncio.Event()), "auditor")
    heads = {}
    for channel in scene.channels:
        heads[channel] = await auditor.audit(channel)

    def behind() -> bool:
        return any(
            reader.positions.get(channel) != {"epoch": head["epoch"], "offset": head["offset"]}
            for reader in readers
            for channel, head in heads.items()
        )

    async def caught_up() -> None:
        while behind():
            await asyncio.sleep(STEP_S)
            for channel in scene.channels:
                ack = await auditor.page(channel, None)
                if ack is not None and ack["ok"]:
                    heads[channel] = {"epoch": ack["epoch"], "offset": ack["offset"]}

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(peace_s):
            await caught_up()
    for channel in scene.channels:
        await auditor.audit(channel)
    await auditor.vanish()
