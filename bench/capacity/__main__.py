"""How much Maru a service needs: `python -m bench.capacity --users 10e6 --engine redis` (docs/scaling.md)."""

import argparse
import sys
from dataclasses import fields

from bench.capacity.costs import ENGINES, Engine
from bench.capacity.plan import Given, Plan, Workload, plan

LEAST = 0.0005
"""Of a core: smaller parts are not printed."""

_HELP = {
    "users": "users of the application",
    "online": "their share that is connected at the busiest hour",
    "messages": "messages a second of each connected user",
    "audience": "connected members of a message's channel, on average over messages",
    "channels": "channels that a connected user has joined",
    "comings": "times an hour that a connected user comes back",
    "reads": "pages of history an hour that a connected user reads",
    "kept_days": "days that messages are kept",
}


def main(arguments: list[str]) -> int:
    """Print the plan, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    for field in fields(Workload):
        name = f"--{field.name.replace('_', '-')}"
        default = 1e6 if field.name == "users" else field.default
        parser.add_argument(name, type=float, default=default, help=f"{_HELP[field.name]} (%(default)g)")
    parser.add_argument("--engine", choices=tuple(ENGINES), default="redis", help="log, or log+broadcast (%(default)s)")
    parser.add_argument("--target", type=float, default=0.5, help="share of its core that a replica may use (0.5)")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB of memory of a replica (2)")
    parser.add_argument("--store-memory", type=float, default=64.0, help="GiB of a node of the store (64)")
    parser.add_argument("--spare", type=int, default=1, help="replicas that may be away (1)")
    given = parser.parse_args(arguments)
    work = Workload(**{field.name: getattr(given, field.name) for field in fields(Workload)})
    engine = ENGINES[given.engine]
    available = Given(given.target, given.memory * 2**30, given.store_memory * 2**30, given.spare)
    try:
        found = plan(work, engine, available)
    except ValueError as error:
        print(f"{engine.name}: {error}", file=sys.stderr)
        return 1
    print(*lines(work, engine, found), sep="\n")
    return 0


def lines(work: Workload, engine: Engine, found: Plan) -> list[str]:
    """Return the plan in words."""
    name, factor = found.bottleneck
    parts = sorted(found.core.items(), key=lambda part: -part[1])
    said = ", ".join(f"{part} {share:.1%}" for part, share in parts if share >= LEAST)
    each = work.connections / found.replicas
    text = [
        f"{work.connections:,.0f} connections, {work.sends:,.0f} messages/s, on {engine.name}",
        f"deliveries: {work.sends * work.audience:,.0f}/s",
        f"replicas: {found.replicas}, each {each:,.0f} connections and {found.replica_bytes / 2**20:,.0f} MiB",
        f"a replica's core: {found.busy:.0%} used ({said})",
    ]
    if engine.cores:
        size = f"{found.store_bytes / 2**30:,.0f} GiB {'of memory' if engine.in_memory else 'on disk'}"
        text.append(f"store: {found.store_nodes} node(s), {found.store_cores:.2f} cores in use, {size}")
    else:
        text.append(f"store: a file of {found.store_bytes / 2**30:,.0f} GiB, in the process itself")
    text.append(f"all come back at once: inside after {found.storm_s:,.0f} s")
    text.append(f"full first: {name}, at {factor:.1f} times this load")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
