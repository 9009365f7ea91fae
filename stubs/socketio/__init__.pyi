"""The part of python-socketio that Maru, its bot and its tests use. `python -m mypy.stubtest` holds it against the
pinned library, so that a new version which renames an overridden method is noticed."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import engineio
from aiohttp import web
from socketio import exceptions as exceptions
from socketio.packet import Packet

class AsyncManager:
    server: AsyncServer | None
    rooms: dict[str, Any]

    def set_server(self, server: AsyncServer) -> None: ...
    def initialize(self) -> None: ...
    def get_participants(self, namespace: str, room: Any) -> Iterable[tuple[str, str]]: ...
    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None: ...
    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None: ...
    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None: ...
    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None: ...
    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None: ...

class AsyncRedisManager(AsyncManager):
    channel: str

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        channel: str = "socketio",
        write_only: bool = False,
        logger: object = None,
        json: object = None,
        redis_options: Mapping[str, Any] | None = None,
    ) -> None: ...
    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: str | None = None,
        skip_sid: str | list[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: str | None = None,
        **kwargs: Any,
    ) -> None: ...
    async def _publish(self, data: dict[str, Any]) -> None: ...

class AsyncServer:
    eio: engineio.AsyncServer
    manager: AsyncManager

    def __init__(
        self,
        client_manager: AsyncManager | None = None,
        logger: object = False,
        json: object = None,
        async_handlers: bool = True,
        namespaces: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None: ...
    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None: ...
    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any: ...
    async def emit(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        room: str | None = None,
        skip_sid: str | list[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None: ...
    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
    def _engineio_server_class(self) -> type[engineio.AsyncServer]: ...

class AsyncClient:
    eio: engineio.AsyncClient
    sid: str | None
    reason: Any

    def __init__(
        self,
        reconnection: bool = True,
        reconnection_attempts: int = 0,
        reconnection_delay: float = 1,
        reconnection_delay_max: float = 5,
        randomization_factor: float = 0.5,
        logger: object = False,
        serializer: str | type[Packet] = "default",
        json: object = None,
        handle_sigint: bool = True,
        **kwargs: Any,
    ) -> None: ...
    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any: ...
    async def connect(
        self,
        url: str,
        headers: Mapping[str, str] = {},
        auth: Any = None,
        transports: Sequence[str] | None = None,
        namespaces: Sequence[str] | None = None,
        socketio_path: str = "socket.io",
        wait: bool = True,
        wait_timeout: float = 1,
        retry: bool = False,
    ) -> None: ...
    async def wait(self) -> None: ...
    async def emit(
        self, event: str, data: Any = None, namespace: str | None = None, callback: Callable[..., Any] | None = None
    ) -> None: ...
    async def call(self, event: str, data: Any = None, namespace: str | None = None, timeout: float = 60) -> Any: ...
    async def disconnect(self) -> None: ...
    async def shutdown(self) -> None: ...

class Client:
    def __init__(
        self,
        reconnection: bool = True,
        reconnection_attempts: int = 0,
        reconnection_delay: float = 1,
        reconnection_delay_max: float = 5,
        randomization_factor: float = 0.5,
        logger: object = False,
        serializer: str | type[Packet] = "default",
        json: object = None,
        handle_sigint: bool = True,
        **kwargs: Any,
    ) -> None: ...
    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any: ...
    def connect(
        self,
        url: str,
        headers: Mapping[str, str] = {},
        auth: Any = None,
        transports: Sequence[str] | None = None,
        namespaces: Sequence[str] | None = None,
        socketio_path: str = "socket.io",
        wait: bool = True,
        wait_timeout: float = 1,
        retry: bool = False,
    ) -> None: ...
    def emit(
        self, event: str, data: Any = None, namespace: str | None = None, callback: Callable[..., Any] | None = None
    ) -> None: ...
    def wait(self) -> None: ...
    def shutdown(self) -> None: ...

class SimpleClient:
    client: Client | None
    connected: bool
    connected_event: threading.Event

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def connect(
        self,
        url: str,
        headers: Mapping[str, str] = {},
        auth: Any = None,
        transports: Sequence[str] | None = None,
        namespace: str = "/",
        socketio_path: str = "socket.io",
        wait_timeout: float = 5,
    ) -> None: ...
    def emit(self, event: str, data: Any = None) -> None: ...
    def call(self, event: str, data: Any = None, timeout: float = 60) -> Any: ...
    def receive(self, timeout: float | None = None) -> list[Any]: ...
