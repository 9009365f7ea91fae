"""Folders of files, served as a front end's own server does."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


@asynccontextmanager
async def served(folders: Mapping[str, Path]) -> AsyncIterator[str]:
    """Serve each folder under its prefix, on a free port of this machine; give the address, without a slash."""
    app = web.Application()
    app.add_routes([web.static(prefix, folder, follow_symlinks=True) for prefix, folder in folders.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
