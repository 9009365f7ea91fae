"""`GET /metrics`, for the internal port: what a Prometheus server scrapes."""

from collections.abc import Callable

from aiohttp import hdrs, web

Render = Callable[[str], tuple[bytes, str]]
"""From an `Accept` header to the text and its media type; without waiting for anything."""


def routes(render: Render) -> list[web.RouteDef]:
    """What to mount."""

    async def metrics(request: web.Request) -> web.Response:
        text, media_type = render(",".join(request.headers.getall(hdrs.ACCEPT, ())))
        headers = {hdrs.CONTENT_TYPE: media_type, hdrs.CACHE_CONTROL: "no-store", hdrs.VARY: hdrs.ACCEPT}
        return web.Response(body=text, headers=headers)

    return [web.get("/metrics", metrics)]
