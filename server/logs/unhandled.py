"""Log the errors that Python prints on standard error: those of finalizers, and of threads.

So they are redacted, and nobody waits for a reader of standard error that has stopped.
"""

import sys
import threading

import structlog


def log_unhandled() -> None:
    """Send these errors to the log from now on. Call this after `configure`."""
    sys.unraisablehook = _unraisable
    threading.excepthook = _of_a_thread


def _unraisable(error: "sys.UnraisableHookArgs") -> None:
    # The object itself must not be kept, nor shown: it is about to be freed.
    _write(getattr(error.object, "__qualname__", type(error.object).__qualname__), error.exc_value)


def _of_a_thread(error: threading.ExceptHookArgs) -> None:
    if not issubclass(error.exc_type, SystemExit):  # as Python does
        _write(error.thread.name if error.thread else "", error.exc_value)


def _write(place: str, error: BaseException | None) -> None:
    structlog.get_logger("maru.server").error("error.unhandled", place=place, exc_info=error)
