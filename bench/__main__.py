"""The benchmarks: Maru beside other servers, on the same work in the same run. See docs/performance.md.

The server has one core and the load the other. Peers take turns, round after round; figures are medians with the least
and the most in brackets, and ratios come first.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import plans, results
from bench.cases import crowd, fanout, profile, replicas, sends
from bench.machine import cores, raise_file_limit
from bench.peers.registry import MEANING
from bench.runs import Row, Run

FILES = 65_536
"""Open files: more than a server with 15,000 connections, or its load, needs."""

DEFAULT_PEERS = {
    "fanout": "maru,stock,node,nats,nchan,bare",
    "latency": "maru,stock,node,nchan",
    "crowd": "maru,stock,node",
    "storm": "maru,node",
    "heartbeat": "maru",
    "sends": "maru-sqlite,maru-redis",
    "replicas": "maru-redis,stock-redis,node-streams",
    "profile": "maru",
}


def numbers(text: str) -> tuple[int, ...]:
    """Read `1,32`."""
    return tuple(int(part) for part in text.split(","))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="peers: " + "; ".join(f"{name}: {meaning}" for name, meaning in MEANING.items()),
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("quick", "a first look, under a minute"), ("all", "everything, under ten minutes")):
        plan = commands.add_parser(name, help=text)
        _common(plan)
        plan.add_argument("--rounds", type=int, default=5, help="the most rounds; default: %(default)s")
    for name, text in (
        ("fanout", "one message to everybody in a channel"),
        ("latency", "from due to delivered, at half load and at one rate for all"),
        ("crowd", "handshakes, memory a connection, and all leaving at once"),
        ("storm", "all arriving at once"),
        ("heartbeat", "what idle connections cost"),
        ("sends", "durable sends and their acks"),
        ("replicas", "several replicas behind one Redis, and one without a member"),
        ("profile", "where Maru's time goes during a fan-out"),
    ):
        command = commands.add_parser(name, help=text)
        _common(command)
        command.add_argument("--peers", default=DEFAULT_PEERS[name], help="default: %(default)s")
        command.add_argument("--rounds", type=int, default=3)
        _options(command, name)
    report = commands.add_parser("report", help="show results that were kept in a file")
    report.add_argument("results", type=Path)
    report.add_argument("--page", type=Path, help="also write this page, and its charts")
    return top


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--page", type=Path, help="also write this page, e.g. docs/performance.md, and its charts")
    command.add_argument("--source", type=Path, help="a folder with another version of Maru, to measure that one")
    command.add_argument("--out", type=Path, help="file for the results, a line of JSON each")
    command.add_argument("--set", action="append", default=[], metavar="MARU_X=Y", help="a setting of Maru's")


def _options(command: argparse.ArgumentParser, name: str) -> None:
    if name in {"fanout", "latency"}:
        command.add_argument("--members", type=int, default=1_000)
        command.add_argument("--size", type=int, default=64, help="bytes of a message")
    if name == "fanout":
        command.add_argument("--in-flight", type=numbers, default=(1, 32), help="default: 1,32")
        command.add_argument("--channels", type=int, default=1, help="the channels that the members are spread over")
        command.add_argument("--senders", type=numbers, default=(1,), help="clients that send in turn; default: 1")
    if name in {"fanout", "latency", "sends", "heartbeat"}:
        command.add_argument("--seconds", type=float, default={"sends": 1.5, "heartbeat": 21.0}.get(name, 1.0))
    if name in {"crowd", "storm", "heartbeat"}:
        command.add_argument("--clients", type=int, default=15_000 if name == "heartbeat" else 5_000)
    if name == "sends":
        command.add_argument("--clients", type=numbers, default=(16, 64, 256), help="default: 16,64,256")


def measure(run: Run, options: argparse.Namespace) -> None:
    """Run one command."""
    if options.command in plans.PLANS:
        plans.PLANS[options.command](run, options.rounds)
        return
    names: Sequence[str] = options.peers.split(",")
    if unknown := sorted(set(names) - set(MEANING)):
        raise SystemExit(f"unknown peer: {unknown[0]}; there are {', '.join(MEANING)}")
    COMMANDS[options.command](run, names, options)


def _fanout(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(options).items() if name in fanout.Work.__dataclass_fields__}
    case = fanout.latency if options.command == "latency" else fanout.fanout
    case(run, names, fanout.Work(**given))


def _crowd(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    case = crowd.storm if options.command == "storm" else crowd.crowd
    case(run, names, crowd.Work(options.clients, options.rounds))


def _heartbeat(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    crowd.heartbeat(run, names, options.clients, options.seconds, options.rounds)


def _sends(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    sends.sends(run, names, sends.Work(clients=options.clients, rounds=options.rounds, seconds=options.seconds))


def _replicas(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    replicas.replicas(run, names, replicas.Work(rounds=options.rounds))
    replicas.idle(run, names, rounds=options.rounds)


COMMANDS: Mapping[str, Callable[[Run, Sequence[str], argparse.Namespace], None]] = {
    "fanout": _fanout,
    "latency": _fanout,
    "crowd": _crowd,
    "storm": _crowd,
    "heartbeat": _heartbeat,
    "sends": _sends,
    "replicas": _replicas,
    "profile": lambda run, _names, _options: profile.profile(run),
}


def main() -> int:
    """Measure (or read what was measured), print the tables, write the page."""
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that what was started is ended too
    if options.command == "report":
        about, rows = results.read(options.results)
    else:
        raise_file_limit(FILES)
        about, rows = _run(options)
    results.show(rows)
    if options.page is not None:
        results.write_page(options.page, about, rows)
    return 0


def _run(options: argparse.Namespace) -> tuple[results.About, list[Row]]:
    variables = dict(setting.partition("=")[::2] for setting in options.set)
    about = results.about(f"python -m bench {' '.join(sys.argv[1:])}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maru-bench-") as folder, contextlib.ExitStack() as stack:
        out = None if options.out is None else stack.enter_context(options.out.open("w"))
        source = None if options.source is None else options.source.absolute()
        run = Run(cores(), Path(folder), out, variables, source)
        measure(run, options)
        about["seconds"] = time.monotonic() - began
        if out is not None:
            results.note(out, about)
    return about, run.rows


if __name__ == "__main__":
    sys.exit(main())
