"""Maru under Python's profiler, which begins at SIGUSR1 and writes to a file at SIGUSR2: profiled.py FILE CLOCK.

So the profile holds the work alone, and neither the start nor the arrival of the clients. With the clock `cpu` waiting
takes no time, and the work of the loop itself shows; with `wall` the profiler itself costs less.
"""

import cProfile
import runpy
import signal
import sys
import time


def main() -> None:
    """Serve until told to stop."""
    target, clock = sys.argv.pop(1), sys.argv.pop(1)
    profiler = cProfile.Profile(time.thread_time) if clock == "cpu" else cProfile.Profile()

    def end(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(target)

    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, end)
    runpy.run_module("server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
