"""Development mode behind a proxy, beside a front end on another port, and with the secret of a production."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import aiohttp
import jwt
import pytest
from aiohttp import web

from tests.clients.raw import RawSocket
from tests.harness.nginx import NginxProcess
from tests.harness.page import chromium
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token

MODES = ("1", "insecure-public")

LIBRARY = ROOT / "clients/js-demo/node_modules/socket.io-client/dist/socket.io.esm.min.js"

PRODUCTION = token_hex(32)

WAIT_MS = 15_000


class BareProxy(NginxProcess):
    """nginx as many set it up: it adds no header, and names its backend as the host."""

    def _write(self, backends: Sequence[int], affinity: str | None) -> None:
        self._configuration.mkdir()
        assert affinity is None
        (self._configuration / "nginx.conf").write_text(
            "error_log stderr;\npid nginx.pid;\nevents {}\n"
            f"http {{ access_log {self._access}; server {{ listen 127.0.0.1:{self.port};\n"
            f"location / {{ proxy_pass http://127.0.0.1:{backends[0]}; }} }} }}\n"
        )


async def asked(url: str, **headers: str) -> tuple[int, str]:
    """Ask for a token of `admin`; return the status and the body."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/dev/token?user=admin", headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("mode", MODES)
async def test_a_bare_proxy_gets_no_token(tmp_path: Path, mode: str) -> None:
    """Whatever name it was asked by; whoever asks the server itself gets one."""
    async with ServerProcess(tmp_path, {"MARU_DEV": mode}) as server:
        (tmp_path / "nginx-here").mkdir()
        async with BareProxy(tmp_path / "nginx-here", [server.port]) as proxy:
            for host in ("chat.example.com", "localhost"):
                status, said = await asked(proxy.url, Host=host)
                assert (status, json.loads(said)["error"]["code"]) == (400, "bad_request")
            assert (await asked(server.url))[0] == 200


async def test_a_production_takes_no_token_of_development(tmp_path: Path) -> None:
    """Told to be for everybody beside a secret, it signs with a secret of its own all the same; each start warns."""
    env = {"MARU_DEV": "insecure-public", "MARU_JWT_SECRET": PRODUCTION}
    async with ServerProcess(tmp_path, keep_secret=True, env=env) as server:
        text = json.loads((await asked(server.url))[1])["token"]
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(text, PRODUCTION, algorithms=["HS256"])
        client = await RawSocket.chat(server.port, text)
        client.vanish()
        [warning] = await server.lines_of("development.mode", 1)
        assert (warning["level"], warning["dev"]) == ("warning", "insecure-public")
        assert PRODUCTION not in server.output


async def test_a_secret_beside_development_ends_the_start(tmp_path: Path) -> None:
    """In one line, with the way out."""
    server = ServerProcess(tmp_path, {"MARU_DEV": "1", "MARU_JWT_SECRET": PRODUCTION}, keep_secret=True)
    await server.launch()
    assert await server.ended() == 2
    assert re.fullmatch(r"maru: MARU_DEV: 1 gives .* MARU_JWT_SECRET is set; unset .*\n", server.output)


@asynccontextmanager
async def front_end(script: str) -> AsyncIterator[str]:
    """A page of another port, as a front end's development server gives it; its address."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=f'<script type="module">{script}</script>', content_type="text/html")

    async def library(_: web.Request) -> web.FileResponse:
        return web.FileResponse(LIBRARY)

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/library.js", library)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_first_client_runs_from_another_port(tmp_path: Path) -> None:
    """The README's, word for word but for its addresses, in Chromium: it gets a token, joins, and hears itself."""
    [script] = re.findall(r"```js\n(import .*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    async with ServerProcess(tmp_path, {"MARU_DEV": "1"}) as server, chromium() as browser:
        script = script.replace('"socket.io-client"', '"/library.js"').replace(
            "localhost:8080", f"localhost:{server.port}"
        )
        async with front_end(script) as url:
            page = await browser.new_page()
            async with page.expect_console_message(lambda said: "hello" in said.text, timeout=WAIT_MS) as heard:
                await page.goto(url)
            assert (await heard.value).text.endswith("alice hello")


async def test_tokens_of_the_tests_are_taken_in_development(tmp_path: Path) -> None:
    """The harness puts its own secret where development keeps its: so that other tests may ask for either."""
    async with ServerProcess(tmp_path, {"MARU_DEV": "1"}) as server:
        client = await RawSocket.chat(server.port, token("alice"))
        client.vanish()
