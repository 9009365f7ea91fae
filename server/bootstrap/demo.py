"""The demo page and its tokens, for development."""

from pathlib import Path

import structlog
from aiohttp import web

from server.api import demo
from server.api.demo import Demo
from server.bootstrap.tokens import mint
from server.domain.identity import Action, Grants
from server.settings.choices import Development
from server.settings.model import Settings

DEMO_GRANTS: Grants = {
    "room:*": frozenset((Action.JOIN, Action.SEND)),
    "announce": frozenset((Action.JOIN,)),
}
"""The grants of a token of `/dev/token`."""

_log = structlog.get_logger("maru.server")

CLIENTS = Path(__file__).parents[2] / "clients"
"""The folder of the page and of its client; an installed package has none, and serves without the page."""


def mount(settings: Settings, app: web.Application) -> None:
    """Serve the demo page and `/dev/token`."""

    def mint_demo(user: str, ttl_s: int) -> str:
        return mint(settings, user, ttl_s, name=user, grants=DEMO_GRANTS)

    app.add_routes(Demo(CLIENTS, mint_demo, public=settings.dev is Development.PUBLIC).routes())
    if not demo.available(CLIENTS):
        _log.warning("demo.missing", remedy="run `npm ci` in clients/js-demo; serving without the page")
