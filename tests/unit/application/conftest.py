"""The use cases are tested in virtual time: a deadline of seconds is waited for in no time, and exactly."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.doubles.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    """Run each async test of this folder on a virtual-time loop."""
    return {"virtual": VirtualTimeLoop}
