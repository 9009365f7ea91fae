"""Tens of thousands of clients from one machine, and a verdict on the server's promises.

    MARU_JWT_SECRET=... python -m loadtest.swarm --url http://127.0.0.1:8080 --clients 10000 --rate 100 --seconds 30

They connect, talk, drop out and come back by `resume`; at the end every acked message must have reached every member of
its channel, once, in order. The last line says PASS or FAIL; the exit code is 0, 1, or 2 if the run could not begin.
Tokens come only from the environment: `MARU_JWT_SECRET`, or `LOADTEST_TOKENS` (a file with a token in each line).
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import resource
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.coordinator import coordinate
from loadtest.plan import Plan
from loadtest.target import Target
from loadtest.tokens import NoTokens, tokens_from
from loadtest.verdict import Report

OTHER_FILES = 64
"""Open files of a process that are not clients."""

CLIENTS_PER_PROCESS = 2_000
"""More processes are started up to the number of cores, when there are more clients than these."""

ARRIVE_S, ARRIVALS_PER_S = 30.0, 200
"""The deadline for all clients to be connected: a fixed time, and the time that they take at this pace."""


class NotPossible(Exception):
    """The run can't begin; the text says what to do."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. A secret never stands in it."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.swarm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--url", required=True, help="the server: http://HOST:PORT or https://HOST")
    add("--clients", type=_positive, default=1_000)
    add("--channels", type=_positive, default=10, help="the clients are spread over them evenly")
    add("--joins", type=_positive, default=1, help="channels that each client is in")
    add("--rate", type=float, default=100.0, help="messages a second, all together")
    add("--seconds", type=float, default=30.0, help="how long they talk")
    add("--reconnect", type=float, default=0.0, help="share of the clients that drop out and come back, per minute")
    add("--people", type=float, default=0.0, help="marks, reactions and looks at rosters a second, all together")
    add("--bytes", type=_positive, default=100, help="length of a message's text, up to 4000")
    add("--settle", type=float, default=20.0, help="seconds in which the last acks, and then the last events, come")
    add("--prefix", default="room:load", help="channels are PREFIX-RUN-NUMBER; tokens need join and send there")
    add("--processes", type=int, default=0, help="default: by the clients, cores and open files")
    add("--json", metavar="FILE", help="write the whole result there too; - is standard output")
    options = parser.parse_args(arguments)
    least = min(options.rate, options.people, options.settle, options.reconnect)
    if least < 0 or options.seconds <= 0 or options.reconnect > 60:
        parser.error(
            "--rate, --people, --settle and --reconnect (up to 60) are not negative, --seconds is more than nothing"
        )
    if options.joins > options.channels or options.bytes > 4_000 or options.processes < 0:
        parser.error("--joins is at most --channels, --bytes at most 4000, --processes not negative")
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def processes(clients: int, wanted: int, files: int) -> int:
    """Return the number of processes, if each may have `files` open files. Raises `NotPossible`."""
    room = files - OTHER_FILES
    if wanted and math.ceil(clients / wanted) > room:
        raise NotPossible(
            f"{clients} clients in {wanted} processes are {math.ceil(clients / wanted)} sockets each, and a process "
            f"may have {files} open files: raise that (ulimit -Hn, LimitNOFILE=) or take more --processes"
        )
    if room < 1:
        raise NotPossible(f"a process may have {files} open files, which is not enough for anything: ulimit -Hn")
    by_cores = min(os.cpu_count() or 1, math.ceil(clients / CLIENTS_PER_PROCESS))
    return min(clients, wanted or max(by_cores, math.ceil(clients / room)))


def raise_limit() -> int:
    """Raise the limit of open files, for this process and its children, as far as the system allows; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def plans(options: argparse.Namespace, count: int) -> list[Plan]:
    """Divide the run into the parts of the processes."""
    run, clients = secrets.token_hex(4), options.clients
    bounds = [clients * part // count for part in range(count + 1)]
    return [
        Plan(
            url=options.url,
            prefix=options.prefix,
            run=run,
            first=first,
            clients=last - first,
            channels=options.channels,
            joins=options.joins,
            rate=options.rate * (last - first) / clients,
            seconds=options.seconds,
            reconnect=options.reconnect,
            size=options.bytes,
            people=options.people * (last - first) / clients,
            everybody=clients,
            settle_s=options.settle,
            arrive_s=ARRIVE_S + clients / ARRIVALS_PER_S,
        )
        for first, last in itertools.pairwise(bounds)
    ]


def show(report: Report, file: str | None) -> None:
    """Print the faults, and the verdict last; write the whole report to the file, if one is named."""
    for reason in report.reasons():
        print(f"- {reason}", file=sys.stderr)
    for example in report.counts.examples:
        print(f"  {example}", file=sys.stderr)
    for problem, count in report.counts.problems.most_common(5):
        print(f"  got over: {problem} ({count})", file=sys.stderr)
    if file == "-":
        print(json.dumps(report.to_json()))
    elif file:
        Path(file).write_text(json.dumps(report.to_json(), indent=2) + "\n")
    print(report.line(), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    options = parse(arguments)
    try:
        Target.parse(options.url)
        tokens_from(os.environ, options.prefix)
        count = processes(options.clients, options.processes, raise_limit())
    except (ValueError, NoTokens, NotPossible) as error:
        print(f"swarm: {error}", file=sys.stderr)
        return 2
    report = asyncio.run(coordinate(plans(options, count), lambda text: print(text, file=sys.stderr, flush=True)))
    show(report, options.json)
    return 1 if report.reasons() else 0


if __name__ == "__main__":
    sys.exit(main())
