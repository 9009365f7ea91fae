"""The libraries of engines that are extras of the package: a server without one says which is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from server.settings.errors import StartRefused

EXTRAS = {"asyncpg": "postgres", "confluent_kafka": "kafka", "nats": "nats"}
"""The extra of each library, as in setup.cfg."""


@contextmanager
def libraries_needed() -> Iterator[None]:
    """Turn the lack of such a library into a line that says what to install. Raises `StartRefused`."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise StartRefused(
            f"the library {error.name} is not installed, which the settings need; install maru-server[{extra}], or "
            "requirements/engines.txt"
        ) from error
