"""The command line as an operator meets it: real processes, their exit codes and their one line."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.__main__ import main
from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.key_source import FixedKeys
from server.adapters.tokens.keys import secret_key
from server.bootstrap.keys import DEV_SECRET_FILE
from server.domain.identity import Action
from server.logs.handler import LineHandler
from tests.harness.waiting import polled

ROOT = Path(__file__).parents[2]
SECRET = f"canary-{token_hex(32)}"
DEADLINE_S = 30
SOON_S = 5

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(**values: str) -> dict[str, str]:
    """That of the tests without its settings, and these, given without their prefix."""
    outside = {name: value for name, value in os.environ.items() if not name.upper().startswith("MARU_")}
    return outside | {"PYTHONPATH": str(ROOT)} | {f"MARU_{name}": value for name, value in values.items()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m server` in an empty directory until it ends."""

    def start(*arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "server", *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(**values),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return start


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An empty working directory, and these settings, for a command within this process."""
    monkeypatch.chdir(tmp_path)

    def settle(**values: str) -> None:
        for name in [name for name in os.environ if name.upper().startswith("MARU_")]:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(f"MARU_{name}", value)

    return settle


@pytest.fixture(autouse=True)
def logging_restored() -> Any:
    """`main` configures the process's logging; here that is undone."""
    level = logging.root.level
    yield
    ours = [handler for handler in logging.root.handlers if isinstance(handler, LineHandler)]
    logging.root.handlers = [handler for handler in logging.root.handlers if handler not in ours]
    logging.root.level = level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_missing_secret_is_one_line(run: Run) -> None:
    """An empty environment does not start, and says what to set; nothing is left behind."""
    ended = run()
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("maru: MARU_JWT_SECRET: not set, expected a text of 32 bytes or more")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"JWT_SECRET": "canary"}, "MARU_JWT_SECRET: 6 bytes, expected at least 32; make one: openssl rand -hex 32"),
        ({"JWT_SECRTE": SECRET}, "MARU_JWT_SECRTE: unknown variable; did you mean MARU_JWT_SECRET?"),
    ],
)
def test_a_bad_setting_is_one_line(
    at: Callable[..., None], capsys: pytest.CaptureFixture[str], values: dict[str, str], line: str
) -> None:
    """It names the variable; a secret's value is not repeated."""
    at(**values)
    assert main([]) == 2
    assert capsys.readouterr() == ("", f"maru: {line}\n")


@pytest.mark.parametrize("command", ["serve", "config", "health", "token --user bob"])
def test_every_command_refuses_an_unfit_key(
    at: Callable[..., None], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """With the same line: also `config`, by which an operator looks for the fault."""
    at(JWT_PUBLIC_KEY="-----BEGIN PUBLIC KEY-----canary")
    assert main(command.split()) == 2
    line = "MARU_JWT_PUBLIC_KEY: holds no public key in PEM (-----BEGIN PUBLIC KEY-----)"
    assert capsys.readouterr() == ("", f"maru: {line}\n")


def test_config_masks_secrets(run: Run, tmp_path: Path) -> None:
    """Each setting with its origin; also what stands in `.env`."""
    (tmp_path / ".env").write_text("MARU_API_KEYS=canary-canary-canary\nMARU_PORT=7777\n")
    ended = run("config", JWT_SECRET=SECRET)
    assert ended.returncode == 0
    assert {"MARU_JWT_SECRET=********  # environment", "MARU_PORT=7777  # .env"} <= set(ended.stdout.splitlines())
    assert "canary" not in ended.stdout + ended.stderr


async def test_a_minted_token_is_verified(run: Run) -> None:
    """`token` signs with the configured secret what was asked for; standard output holds the token alone."""
    ended = run(
        *("token", "--user", "alice", "--name", "Alice", "--ttl", "90s"),
        *("--grant", "room:*=join,send", "--grant", "ops=moderate", "--grant", "ops=join"),
        JWT_SECRET=SECRET,
        JWT_ISSUER="maru",
        JWT_AUDIENCE="chat",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    verifier = JwtVerifier(FixedKeys(secret_key(SECRET)), issuer="maru", audience="chat")
    identity = await verifier.verify(ended.stdout.strip())
    assert (identity.user, identity.name) == ("alice", "Alice")
    assert identity.grants == {
        "room:*": {Action.JOIN, Action.SEND},
        "ops": {Action.MODERATE, Action.JOIN},
    }
    assert 80 < identity.expires_at / 1_000 - time.time() <= 90


async def test_development_keeps_its_secret(
    run: Run, at: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is made once, beside the database, for the owner's eyes only; tokens outlive a restart."""
    settings = {"DEV": "1", "SQLITE_PATH": "data/maru.db"}
    first = run("token", "--user", "bob", **settings)
    at(**settings)
    assert main(["token", "--user", "bob"]) == 0
    second = capsys.readouterr()
    file = tmp_path / "data" / DEV_SECRET_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [DEV_SECRET_FILE]
    secret = file.read_text().strip()
    for text in (first.stdout, second.out):
        assert (await JwtVerifier(FixedKeys(secret_key(secret))).verify(text.strip())).user == "bob"
    assert secret not in first.stdout + first.stderr + second.out + second.err


@pytest.mark.parametrize("mode", ["readable", "empty", "a link", "no directory"])
def test_a_kept_secret_that_is_unfit_is_one_line(
    at: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path, mode: str
) -> None:
    """One that others may read, an empty one, a link, and a place that can't be written to."""
    at(DEV="1", SQLITE_PATH="data/maru.db")
    file = tmp_path / "data" / DEV_SECRET_FILE
    if mode == "no directory":
        file.parent.write_text("a file")
    else:
        file.parent.mkdir()
        file.touch(0o644 if mode == "readable" else 0o600)
    if mode == "a link":
        file.rename(file.with_name("target"))
        file.symlink_to("target")
    assert main(["token", "--user", "bob"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"maru: data/{DEV_SECRET_FILE}: ")
    assert said.err.count("\n") == 1


def test_token_needs_a_secret(at: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """A server that only checks tokens can't make them, and says so."""
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    at(JWT_PUBLIC_KEY=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
    assert main(["token", "--user", "bob"]) == 1
    assert re.fullmatch(r"maru: MARU_JWT_SECRET: not set.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["token"],
        ["token", "--user", "bob", "--grant", "room:*"],
        ["token", "--user", "bob", "--grant", "Room=join"],
        ["token", "--user", "bob", "--grant", "room=fly"],
        ["token", "--user", "bob", "--ttl", "soon"],
        ["token", "--user", "bob", "--ttl", "0"],
        ["fly"],
    ],
)
def test_bad_arguments_exit_2(
    at: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """As argparse does, with what was expected."""
    at(JWT_SECRET=SECRET)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_user_the_server_would_refuse_is_refused(at: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """When minting, in one line."""
    at(JWT_SECRET=SECRET)
    assert main(["token", "--user", "a" * 129]) == 1
    assert capsys.readouterr().err.startswith("maru: the token's 'sub' is no text of 1 to 128 characters")


def test_the_version(at: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"maru \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_taken_port_is_one_line(run: Run) -> None:
    """It names the variable and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(DEV="1", PORT=str(port), INTERNAL_PORT="0", LOG_LEVEL="error")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"maru: MARU_PORT: can't listen on 127.0.0.1:{port}")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", ["HOST", "INTERNAL_HOST"])
def test_a_host_that_is_not_ours_is_one_line(run: Run, variable: str) -> None:
    """It names the variable of the address, not that of the port. 192.0.2.1 is for documents (RFC 5737)."""
    ended = run(DEV="insecure-public", PORT="0", INTERNAL_PORT="0", LOG_LEVEL="error", **{variable: "192.0.2.1"})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"maru: MARU_{variable}: can't listen on 192.0.2.1:0")
    assert ended.stderr.count("\n") == 1


def test_sigterm_stops_cleanly(tmp_path: Path) -> None:
    """The server says that it serves, and where its secret is kept; `health` finds it; SIGTERM ends it with 0."""
    command = [sys.executable, "-m", "server"]
    values = environment(DEV="1", PORT="0", INTERNAL_PORT="0", LOG_FORMAT="json", EVENT_LOOP="asyncio")
    with subprocess.Popen(command, cwd=tmp_path, env=values, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        written = ""
        while '"serving"' not in written:
            line = server.stdout.readline()
            assert line, written
            written += line
        port = json.loads(written.splitlines()[-1])["internal_port"]
        health = subprocess.run(
            [*command, "health"],
            cwd=tmp_path,
            env=values | {"MARU_INTERNAL_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=DEADLINE_S)
    assert server.returncode == 0
    assert (health.returncode, health.stderr) == (0, "")
    assert '"stopped"' in rest
    assert DEV_SECRET_FILE in written
    assert (tmp_path / DEV_SECRET_FILE).read_text().strip() not in written + rest


def listens(port: int) -> bool:
    """Say whether a port of 127.0.0.1 takes connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_server_without_an_output_serves(tmp_path: Path, log_format: str) -> None:
    """Its lines are lost, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    values = environment(DEV="1", PORT="0", INTERNAL_PORT=str(port), LOG_FORMAT=log_format)
    command = [sys.executable, "-m", "server"]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh"]
    with subprocess.Popen([*closed, *command], cwd=tmp_path, env=values, stderr=subprocess.PIPE, text=True) as server:
        try:
            asyncio.run(polled(lambda: listens(port) or server.poll() is not None, DEADLINE_S, lambda: "it is silent"))
            assert subprocess.run([*command, "health"], env=values, cwd=tmp_path, check=False).returncode == 0
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=DEADLINE_S)
        finally:
            server.kill()
    assert (server.returncode, errors) == (0, "")


SLOW_IMPORT = """
import os, time
print(os.getpid(), os.readlink("/proc/self"), flush=True)
while True:
    time.sleep(0.01)
"""
"""Takes the place of argparse, the first module of any size that the server imports: prints its process's id, here and
outside, and never ends.

It sleeps in short steps: Python calls a handler between two steps of a program, and a signal that arrives just before
a sleep begins does not cut the sleep short."""


def first_process() -> list[str]:
    """What makes a command process 1, as in a container, where this machine lets us."""
    for unshare in (["unshare", "--pid"], ["unshare", "--user", "--pid"]):
        alone = [*unshare, "--fork", "--kill-child"]
        with contextlib.suppress(OSError):
            if subprocess.run([*alone, "true"], capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0:
                return alone
    return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_ends_the_process(tmp_path: Path, number: signal.Signals) -> None:
    """Also process 1, for which the kernel drops a signal without a handler."""
    (tmp_path / "argparse.py").write_text(SLOW_IMPORT)
    alone, values = first_process(), environment(JWT_SECRET=SECRET)
    values["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    command = [*alone, sys.executable, "-m", "server"]
    with subprocess.Popen(command, cwd=tmp_path, env=values, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            within, outside = map(int, server.stdout.readline().split())
            assert (within == 1) is bool(alone)
            os.kill(outside, number)
            assert server.wait(SOON_S) == 128 + number
        finally:
            server.kill()


def test_health_without_a_server_is_one_line(run: Run) -> None:
    """It names the address, and exits 1."""
    with socket.socket() as unused:  # bound, and not listening: nothing answers, and nobody else can take it
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ended = run("health", DEV="1", INTERNAL_PORT=str(port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"maru: 127.0.0.1:{port} does not answer")
    assert ended.stderr.count("\n") == 1
