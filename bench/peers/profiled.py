"""Maru under Python's profiler, which begins at SIGUSR1 and writes to a file at SIGUSR2: profiled.py FILE.

So the profile holds the fan-out alone, and neither the start nor the arrival of the clients.
"""

import cProfile
import runpy
import signal
import sys


def main() -> None:
    """Serve until told to stop."""
    profiler = cProfile.Profile()
    target = sys.argv.pop(1)

    def end(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(target)

    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, end)
    runpy.run_module("server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
