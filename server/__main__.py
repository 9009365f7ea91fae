"""The command line: `python -m server` serves; `token` mints a token, `config` prints the effective settings, `health`
asks a server that runs here whether it lives.

Exit codes: 0 after a clean stop, 2 for a bad variable or argument, 1 for any other reason not to start and for a fault.
What an operator can mend is one line on standard error, never a traceback.
"""

# ruff: noqa: E402  # what follows the first statements takes a second to import

import os
import signal


def end_at_once(number: int, _: object) -> None:
    """Handle a signal by the end of the process, whatever it is doing."""
    os._exit(128 + number)


if __name__ == "__main__":
    # As the first thing: in a container this is process 1, and the kernel drops its signals until they have handlers.
    for _number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(_number, end_at_once)

import argparse
import asyncio
import http.client
import secrets
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from pydantic import SecretStr

from server.domain.channels import is_pattern
from server.domain.identity import Action
from server.logs.configure import configure
from server.settings.errors import BadSetting, StartRefused
from server.settings.keys import MIN_SECRET_BYTES
from server.settings.load import describe, load
from server.settings.model import VERSION, EventLoop, LogFormat, LogLevel, Settings
from server.settings.values import duration

DEV_SECRET_FILE = ".maru-dev-secret"  # noqa: S105 a file's name
"""Beside the SQLite file: open pages keep working tokens when the development server restarts."""

USAGE = 2

HEALTH_TIMEOUT_S = 2.0

OVERDUE_S = 3.0
"""After the drain timeout the process is gone, whatever hangs: the drain has cut itself short long before."""

LAST_WORDS_S = 0.5
"""The end of that time, for the line that says what hangs: whoever reads the log may hang, too."""

MAX_HUNG = 20
"""Tasks named in that line, and steps of each."""

_log = structlog.get_logger("maru.server")

Grant = tuple[str, frozenset[Action]]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    options = _parser().parse_args(arguments)
    configure(LogLevel.INFO, LogFormat.CONSOLE, sys.stderr)  # until the settings are known
    try:
        settings = load()
        command: Callable[[Settings, argparse.Namespace], None] = options.command
        command(settings, options)
        sys.stdout.flush()
    except BadSetting as error:
        return _refused(error, USAGE)
    except StartRefused as error:
        return _refused(error, 1)
    except KeyboardInterrupt:  # after the server's own handlers, which end with the event loop
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseExceptionGroup as group:
        return _group(group)
    except Exception as error:  # noqa: BLE001 the last stop: a fault is a log line, redacted like any other
        return _fault(error)
    return 0


def _refused(error: BaseException, code: int) -> int:
    print("maru:", " ".join(str(error).split()), file=sys.stderr)
    return code


def _group(group: BaseExceptionGroup[BaseException]) -> int:
    """A task group wraps what its body raises."""
    refused, faults = group.split(StartRefused)
    if faults is not None or refused is None:
        return _fault(group)
    error: BaseException = refused
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return _refused(error, 1)


def _fault(error: BaseException) -> int:
    _log.critical("fault", exc_info=error)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server", description="Maru, a real-time messaging server. Settings are MARU_* variables."
    )
    parser.add_argument("--version", action="version", version=f"maru {VERSION}")
    parser.set_defaults(command=_serve)
    commands = parser.add_subparsers(title="commands", metavar="")
    commands.add_parser("serve", help="serve (the default)").set_defaults(command=_serve)
    commands.add_parser("health", help="exit 0 if the server here lives, else 1").set_defaults(command=_health)
    commands.add_parser("config", help="print the effective settings, secrets masked").set_defaults(command=_config)
    token = commands.add_parser("token", help="print a token signed with MARU_JWT_SECRET, for development")
    token.set_defaults(command=_token)
    token.add_argument("--user", required=True, help="the user's id (`sub`)")
    token.add_argument("--name", help="the name that others see")
    token.add_argument(
        "--grant",
        action="append",
        type=_grant,
        metavar="PATTERN=ACTIONS",
        help="such as 'room:*=join,send'; repeatable",
    )
    token.add_argument("--ttl", type=_ttl, default=3_600.0, help="how long it lives, such as 30m or 12h (default: 1h)")
    return parser


def _grant(text: str) -> Grant:
    pattern, _, listed = text.partition("=")
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not is_pattern(pattern):
        raise argparse.ArgumentTypeError(
            f"{pattern!r} is no channel name or pattern; expected such as 'room:*=join,send'"
        )
    if not names or not set(names) <= set(Action):
        raise argparse.ArgumentTypeError(f"{listed!r}: expected one or more of {', '.join(Action)}, joined by ','")
    return pattern, frozenset(map(Action, names))


def _ttl(text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError("expected a duration over 0")
    return seconds


def _health(settings: Settings, _: argparse.Namespace) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.internal_host, settings.internal_host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.internal_port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise StartRefused(f"{host}:{settings.internal_port} does not answer ({error})") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise StartRefused(f"{host}:{settings.internal_port} answers {status}")


def _config(settings: Settings, _: argparse.Namespace) -> None:
    for variable, value, origin in describe(settings):
        if variable == "MARU_JWT_SECRET" and _wants_dev_secret(settings):
            print(f"{variable}=********  # generated, in {_dev_secret_path(settings)}")
        else:
            print(f"{variable}={value}  # {origin}")


def _token(settings: Settings, options: argparse.Namespace) -> None:
    from server.bootstrap.tokens import mint

    grants: dict[str, frozenset[Action]] = {}
    for pattern, actions in options.grant or ():
        grants[pattern] = grants.get(pattern, frozenset()) | actions
    try:
        text = mint(with_dev_secret(settings), options.user, options.ttl, options.name, grants or None)
    except ValueError as error:
        raise StartRefused(str(error)) from None
    print(text)


def _serve(settings: Settings, _: argparse.Namespace) -> None:
    configure(settings.log_level, settings.log_format)
    if _wants_dev_secret(settings):
        settings = with_dev_secret(settings)
        _log.info("development secret in use", file=str(_dev_secret_path(settings)))
    from server.bootstrap.serve import serve

    async def run() -> None:
        await serve(settings, stop_on_signals(settings.drain_timeout))

    with asyncio.Runner(loop_factory=_loop_factory(settings.event_loop)) as runner:
        runner.run(run())


def _loop_factory(choice: EventLoop) -> Callable[[], asyncio.AbstractEventLoop]:
    if choice is EventLoop.ASYNCIO:
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if choice is EventLoop.UVLOOP:
            raise BadSetting("MARU_EVENT_LOOP: uvloop is not installed; install it, or set auto") from None
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def stop_on_signals(limit_s: float) -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets. A second signal ends the process at once, and a watchdog does
    where the stop is overdue, also where the event loop does not turn; what is acked is on the disk by then."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():  # both came in one turn of the loop
            end_at_once(number, None)
        stop.set()
        for following in (signal.SIGTERM, signal.SIGINT):
            signal.signal(following, end_at_once)  # not by way of the loop, which may be what hangs
        patience = max(0.0, limit_s + OVERDUE_S - LAST_WORDS_S)
        watchdog = threading.Timer(patience, _end_overdue, (loop, limit_s))
        watchdog.daemon = True
        watchdog.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _end_overdue(loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
    """Say what hangs, if that can be said, and end."""
    words = threading.Thread(target=lambda: _log.critical("stop.overdue", limit_s=limit_s, **_hung(loop)), daemon=True)
    words.start()
    words.join(LAST_WORDS_S)
    os._exit(1)


def _hung(loop: asyncio.AbstractEventLoop) -> dict[str, list[str]]:
    """Where the main thread is, outermost first, and where each task waits."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  # public, for just this
    thread = [f"{step.name} ({Path(step.filename).name}:{step.lineno})" for step in traceback.extract_stack(frame)]
    tasks = [f"{task.get_name()}: {' > '.join(_awaiting(task.get_coro()))}" for task in asyncio.all_tasks(loop)]
    return {"thread": thread[-MAX_HUNG:], "tasks": sorted(tasks)[:MAX_HUNG]}


def _awaiting(coroutine: object) -> Iterator[str]:
    """The coroutines from a task's own to the one that waits."""
    for _ in range(MAX_HUNG):
        if not isinstance(coroutine, types.CoroutineType):
            return
        line = coroutine.cr_frame.f_lineno if coroutine.cr_frame else 0
        yield f"{coroutine.__qualname__}:{line}"
        coroutine = coroutine.cr_await


def _wants_dev_secret(settings: Settings) -> bool:
    return settings.dev and settings.jwt_secret is None and settings.jwt_public_key is None


def _dev_secret_path(settings: Settings) -> Path:
    return settings.sqlite_path.parent / DEV_SECRET_FILE


def with_dev_secret(settings: Settings) -> Settings:
    """The settings with the kept secret, where development has none of its own. Raises `StartRefused`."""
    if not _wants_dev_secret(settings):
        return settings
    path = _dev_secret_path(settings)
    try:
        secret = _read_secret(path) or _keep_secret(path)
    except OSError as error:
        raise StartRefused(
            f"{path}: can't keep the development secret ({error.strerror}); set MARU_JWT_SECRET"
        ) from None
    if len(secret) < MIN_SECRET_BYTES:
        raise StartRefused(f"{path}: holds no secret; delete it, and the next start makes a new one")
    return settings.model_copy(update={"jwt_secret": SecretStr(secret)})


def _read_secret(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise StartRefused(f"{path}: others may read it; delete it, and the next start makes a new one")
        return file.read(1_024).strip()


def _keep_secret(path: Path) -> str:
    """Write a new secret, whole or not at all; where another start was faster, its secret counts."""
    secret, draft = secrets.token_hex(MIN_SECRET_BYTES), path.with_name(f"{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
        os.link(draft, path)
    except FileExistsError:
        return _read_secret(path) or ""
    finally:
        draft.unlink(missing_ok=True)
    return secret


if __name__ == "__main__":
    sys.exit(main())
