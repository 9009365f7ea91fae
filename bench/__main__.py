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
from dataclasses import replace
from pathlib import Path

from bench import plans, results
from bench.cases import crowd, fanout, idle, layers, profile, replicas, sends
from bench.machine import cores, raise_file_limit
from bench.peers.registry import MEANING
from bench.runs import Row, Run

FILES = 65_536
"""Open files: more than a server with 15,000 connections, or its load, needs."""

DEFAULT_PEERS = {
    "fanout": "maru,stock,node,nats,nchan,bare",
    "small": "maru,centrifugo-history,oxide,node,bun",
    "direct": "maru,centrifugo-history,oxide,node,bun",
    "latency": "maru,centrifugo-history,node,nchan",
    "crowd": "maru,stock,node",
    "handshakes": "maru,centrifugo-history,node",
    "storm": "maru,node",
    "heartbeat": "maru",
    "idle": "maru",
    "sends": "maru-sqlite,maru-redis",
    "replicas": "maru-redis,stock-redis,node-streams",
    "layers": "maru-sqlite,maru-redis",
    "profile": "maru",
}

PLANS = {
    "quick": "a first look, in a minute and a half",
    "all": "everything, in under 15 minutes",
    "goals": "what the goals are judged by, in 12 minutes with 5 rounds",
    "waits": "how long sends and deliveries wait, in two minutes",
    "rest": "what the page has beside the goals, in five minutes",
}
"""Each measures several cases."""

CASES = {
    "fanout": "one message to everybody in a channel",
    "small": "channels of 10 and 100 members, with 1 and 32 messages under way",
    "direct": "direct messages: 1,000 channels of 1 and of 2 members",
    "latency": "from due to delivered, at half load and at one rate for all",
    "crowd": "handshakes, memory a connection, and all leaving at once",
    "handshakes": "handshakes with token and join, 64 at once",
    "storm": "all arriving at once",
    "heartbeat": "what idle connections cost",
    "idle": "as many idle connections on one process as open files allow",
    "sends": "durable sends and their acks",
    "replicas": "several replicas behind one Redis, and one without a member",
    "layers": "the layers of a send and of a handshake: time, calls, turns of the loop",
    "profile": "where Maru's time goes during a fan-out",
}


PATHS = frozenset(("--out", "--page", "--source"))
"""Options that take a file or a folder."""

SECONDS = {
    **dict.fromkeys(("fanout", "small", "direct", "latency"), 1.0),
    "sends": 1.5,
    "layers": 1.5,
    "heartbeat": 21.0,
    "idle": 20.0,
}
CLIENTS = {"crowd": 5_000, "storm": 5_000, "handshakes": 2_500, "heartbeat": 15_000, "idle": 0}


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
    for name, text in PLANS.items():
        plan = commands.add_parser(name, help=text)
        _common(plan)
        plan.add_argument("--rounds", type=int, default=3 if name == "all" else 5, help="default: %(default)s")
    for name, text in CASES.items():
        command = commands.add_parser(name, help=text)
        _common(command)
        command.add_argument("--peers", default=DEFAULT_PEERS[name], help="default: %(default)s")
        command.add_argument("--rounds", type=int, default=3)
        _options(command, name)
    report = commands.add_parser("report", help="show results that were kept in a file")
    report.add_argument(
        "results", type=Path, nargs="+", help="files that --out has written; the first tells of the run"
    )
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
    if name in SECONDS:
        command.add_argument("--seconds", type=float, default=SECONDS[name])
    if name in CLIENTS:
        text = "0: as many as open files allow; default: %(default)s"
        command.add_argument("--clients", type=int, default=CLIENTS[name], help=text)
    if name == "sends":
        command.add_argument("--clients", type=numbers, default=(16, 64, 256), help="default: 16,64,256")
        command.add_argument("--depth", type=int, default=1, help="messages that each client has under way; default: 1")
        command.add_argument("--full-only", action="store_true", help="leave out half of the load")


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


def _small(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    fanout.small(run, names, (10, 100), options.rounds, options.seconds)


def _direct(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    fanout.direct(run, names, (1, 2), options.rounds, options.seconds)


def _crowd(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    case = {"crowd": crowd.crowd, "storm": crowd.storm, "handshakes": crowd.handshakes}[options.command]
    case(run, names, crowd.Work(options.clients, options.rounds))


def _idle(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    idle.idle(run, names, idle.Work(options.clients, options.seconds, options.rounds))


def _layers(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    layers.profile(run, names, layers.Work(seconds=options.seconds, rounds=options.rounds))


def _heartbeat(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    crowd.heartbeat(run, names, options.clients, options.seconds, options.rounds)


def _sends(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    work = sends.Work(options.clients, rounds=options.rounds, seconds=options.seconds, depth=options.depth)
    sends.sends(run, names, replace(work, half=not options.full_only))


def _replicas(run: Run, names: Sequence[str], options: argparse.Namespace) -> None:
    replicas.replicas(run, names, replicas.Work(rounds=options.rounds))
    replicas.idle(run, names, rounds=options.rounds)


COMMANDS: Mapping[str, Callable[[Run, Sequence[str], argparse.Namespace], None]] = {
    "fanout": _fanout,
    "small": _small,
    "direct": _direct,
    "latency": _fanout,
    "crowd": _crowd,
    "handshakes": _crowd,
    "storm": _crowd,
    "idle": _idle,
    "layers": _layers,
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
        about, rows = results.read(*options.results)
    else:
        raise_file_limit(FILES)
        about, rows = _run(options)
    results.show(rows)
    if options.page is not None:
        results.write_page(options.page, about, rows)
    return 0


def told_of(arguments: Sequence[str]) -> str:
    """Return a command line without the files and folders of this machine, which tell a reader nothing."""
    words = list[str]()
    given = iter(arguments)
    for word in given:
        if word in PATHS:
            next(given, "")
        elif word.partition("=")[0] not in PATHS:
            words.append(word)
    return " ".join(("python -m bench", *words))


def _run(options: argparse.Namespace) -> tuple[results.About, list[Row]]:
    variables = dict(setting.partition("=")[::2] for setting in options.set)
    about = results.about(told_of(sys.argv[1:]))
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
