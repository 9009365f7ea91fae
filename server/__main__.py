"""The command line: `python -m server` serves; `token` mints a token, `config` prints the effective settings, `health`
asks the server on this machine if it lives.

Exit codes: 0 after a clean stop, 2 for a bad variable or argument, 1 for any other reason not to start and for a fault.
A reason that an operator can remove is a single line on standard error, never a traceback.
"""

from server.process.at_once import last_steps, on_stop_signals

if __name__ == "__main__":
    on_stop_signals()  # before the imports below, which take a second

import argparse
import asyncio
import http.client
import os
import signal
import sys
from collections.abc import Callable

import structlog

from server.bootstrap.api_keys import read_keys
from server.bootstrap.keys import check_key, dev_secret_file, with_dev_secret
from server.domain.channels import is_pattern
from server.domain.identity import Action
from server.logs.configure import configure as configure_logs
from server.logs.configure import flush_soon
from server.logs.unhandled import log_unhandled
from server.process import descriptors
from server.process.stopping import stop_on_signals
from server.settings.choices import EventLoop, LogFormat, LogLevel
from server.settings.errors import BadSetting, StartRefused
from server.settings.load import describe, load
from server.settings.model import VERSION, Settings
from server.settings.values import duration

USAGE = 2
"""Exit code for a bad variable: as argparse exits for a bad argument."""

HEALTH_TIMEOUT_S = 2.0
"""For the answer to `health`: the image's health check ends it after 3 s."""

_log = structlog.get_logger("maru.server")

Grant = tuple[str, frozenset[Action]]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    options = _parser().parse_args(arguments)
    configure_logs(LogLevel.INFO, LogFormat.CONSOLE, sys.stderr)  # until the settings are known
    try:
        settings = load()
        check_key(settings)
        read_keys(settings)
        command: Callable[[Settings, argparse.Namespace], None] = options.command
        command(settings, options)
        sys.stdout.flush()
    except BadSetting as error:
        return _refused(error, USAGE)
    except StartRefused as error:
        return _refused(error, 1)
    except KeyboardInterrupt:  # the server's own handlers end with the event loop
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseExceptionGroup as group:
        return _group(group)
    except Exception as error:  # noqa: BLE001 a fault is a log line, redacted like any other
        return _fault(error)
    return 0


def _refused(error: BaseException, code: int) -> int:
    """Print the reason not to start as one line."""
    print("maru:", " ".join(str(error).split()), file=sys.stderr)
    return code


def _group(group: BaseExceptionGroup[BaseException]) -> int:
    """Report the errors of a task group: its first reason not to start, if there is no fault among them."""
    refused, faults = group.split(StartRefused)
    if faults is not None or refused is None:
        return _fault(group)
    error: BaseException = refused
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return _refused(error, 1)


def _fault(error: BaseException) -> int:
    """Log an error that no operator can remove."""
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
    generated = dev_secret_file(settings)
    for variable, value, origin in describe(settings):
        if variable == "MARU_JWT_SECRET" and generated:
            print(f"{variable}=********  # generated, in {generated}")
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
    configure_logs(settings.log_level, settings.log_format)
    log_unhandled()
    descriptors.raise_limit()
    last_steps.append(flush_soon)
    if generated := dev_secret_file(settings):
        _log.warning(
            "development.mode",
            dev=settings.dev.value,
            host=settings.host,
            file=str(generated),
            remedy="everybody who reaches this server gets tokens for every user; unset MARU_DEV in production",
        )
        settings = with_dev_secret(settings)
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


if __name__ == "__main__":
    sys.exit(main())
