"""The keys of backends: those of the settings, read again on SIGHUP."""

import asyncio
import signal

import structlog

from server.domain.backends import ApiKey, ApiKeys, Scope, digest
from server.settings import api_keys
from server.settings.errors import BadSetting
from server.settings.model import Settings

_log = structlog.get_logger("maru.server")


def read_keys(settings: Settings) -> list[ApiKey]:
    """Return the keys of `MARU_API_KEYS`, which have no names of their own, and of the file. Raises `BadSetting`."""
    texts = (key.get_secret_value() for key in settings.api_keys)
    listed = [ApiKey(f"key-{number}", digest(text), frozenset(Scope)) for number, text in enumerate(texts, 1)]
    if settings.api_keys_file is None:
        return listed
    try:
        named = api_keys.read(settings.api_keys_file)
    except ValueError as error:
        raise BadSetting(f"MARU_API_KEYS_FILE: {error}") from None
    names = {key.digest: key.name for key in listed}
    for key in named:
        if key.digest in names:
            raise BadSetting(f"MARU_API_KEYS_FILE: {key.name} is also in MARU_API_KEYS; take it out of one of the two")
        if key.name in names.values():
            raise BadSetting(f"MARU_API_KEYS_FILE: {key.name} is how a key of MARU_API_KEYS is called; rename it")
    return [*listed, *named]


class Reloading:
    """Reads the file of keys again at each SIGHUP. A context manager: after it, SIGHUP does nothing."""

    def __init__(self, settings: Settings, keys: ApiKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._reading: asyncio.Task[None] | None = None  # the last one
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> "Reloading":
        self._loop.add_signal_handler(signal.SIGHUP, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def _begin(self) -> None:
        before = self._reading
        self._reading = self._loop.create_task(self._read(before))

    async def _read(self, before: asyncio.Task[None] | None) -> None:
        """Read the keys; if they can't be read, those that hold go on. In the order of the signals."""
        if before is not None:
            await before
        try:
            keys = await asyncio.to_thread(read_keys, self._settings)
        except BadSetting as error:
            _log.error("api_keys.unreadable", problem=str(error), kept=len(self._keys))
            return
        self._keys.replace(keys)
        _log.info("api_keys.read", names=[key.name for key in keys])
