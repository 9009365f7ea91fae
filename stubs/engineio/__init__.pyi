"""The part of python-engineio that Maru uses. `python -m mypy.stubtest` holds it against the pinned library."""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from engineio.packet import Packet

class AsyncServer:
    async_mode: str
    ping_interval: float
    ping_timeout: float
    sockets: dict[str, Any]
    handlers: dict[str, Callable[..., Any]]

    def __init__(
        self,
        async_mode: str | None = None,
        ping_interval: float = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1000000,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        compression_threshold: int = 1024,
        cookie: str | None = None,
        cors_allowed_origins: str | Sequence[str] | None = None,
        cors_credentials: bool = True,
        logger: object = False,
        json: object = None,
        async_handlers: bool = True,
        monitor_clients: bool | None = None,
        transports: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None: ...
    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None: ...
    async def handle_request(self, *args: Any, **kwargs: Any) -> Any: ...
    async def send_packet(self, sid: str, pkt: Packet) -> None: ...
    async def disconnect(self, sid: str | None = None) -> None: ...
    def generate_id(self) -> str: ...

class AsyncClient:
    async def wait(self) -> None: ...
