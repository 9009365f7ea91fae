"""A control plane for the scenarios of a module. `make cluster-test` builds its programs, and asks for the tests."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chart.conftest import everything
from tests.kubernetes.plane.processes import ControlPlane

__all__ = ["everything", "plane"]

collect_ignore_glob = [] if os.environ.get("CLUSTER_TEST") else ["test_*.py"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A control plane without a node."""
    async with ControlPlane(Path(tmp_path_factory.mktemp("plane"))) as plane:
        yield plane
