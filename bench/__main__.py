"""The benchmarks: `python -m bench [NAME ...]`; without a name, all of them, one after another."""

import argparse
import asyncio
import importlib

NAMES = ("connections",)


def main() -> None:
    """Run what is named; each prints its own table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)} (default: all)")
    names = parser.parse_args().names or NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"unknown benchmark: {unknown[0]}; there are {', '.join(NAMES)}")
    for name in names:
        asyncio.run(importlib.import_module(f"bench.{name}").run())


if __name__ == "__main__":
    main()
