"""Opening the stores that the settings name."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.link import startup_error as redis_startup_error
from server.adapters.redis.manager import RedisRooms
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.rooms import Rooms
from server.adapters.sqlite.database import LogUnusable
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.ports.broadcast import Broadcast
from server.ports.message_log import MessageLog
from server.settings.errors import StartRefused
from server.settings.model import BroadcastKind, MessageLogKind, Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """What a replica keeps its messages in, and tells the others by. `link` is set while the others can be reached;
    `link_losses` counts how often it was lost."""

    log: MessageLog
    broadcast: Broadcast
    rooms: Rooms
    link: asyncio.Event
    link_losses: Callable[[], int]
    loops: tuple[Coroutine[Any, Any, None], ...] = ()


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name. Raises `StartRefused`."""
    log = await _open_log(settings, resources)
    if settings.broadcast is BroadcastKind.REDIS:
        rooms = RedisRooms(_redis_url(settings))
        resources.push_async_callback(rooms.aclose)
        return Stores(log, RedisBroadcast(rooms), rooms, rooms.linked, lambda: rooms.losses, (rooms.run(),))
    link = asyncio.Event()
    link.set()
    return Stores(log, MemoryBroadcast(), Rooms(), link, lambda: 0)


async def _open_log(settings: Settings, resources: AsyncExitStack) -> MessageLog:
    max_events, max_age_ms = settings.retention_events, round(settings.retention_age * 1000)
    match settings.message_log:
        case MessageLogKind.MEMORY:
            return MemoryMessageLog(max_events=max_events, max_age_ms=max_age_ms)
        case MessageLogKind.SQLITE:
            log = SqliteMessageLog(settings.sqlite_path, max_events=max_events, max_age_ms=max_age_ms)
            try:
                return await resources.enter_async_context(log)
            except LogUnusable as error:
                raise StartRefused(str(error)) from error
        case MessageLogKind.REDIS:
            url = _redis_url(settings)
            await _judge_redis(url)
            return await resources.enter_async_context(
                RedisMessageLog(url, max_events=max_events, max_age_ms=max_age_ms)
            )


async def _judge_redis(url: str) -> None:
    """Refuse to start where waiting would not help: a URL that is none, a wrong password, a distrusted certificate."""
    try:
        problem = await redis_startup_error(url)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_REDIS_URL: {problem}")


def _redis_url(settings: Settings) -> str:
    assert settings.redis_url is not None  # the settings refuse Redis without it
    return settings.redis_url.get_secret_value()
