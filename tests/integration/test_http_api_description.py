"""The API keeps to its description: schemathesis makes requests from it, sound and unsound, and judges the answers."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.clients.backend import API_KEY
from tests.harness.server import ROOT, ServerProcess

EXAMPLES = "8"
"""Requests for each operation, at random but the same in each run."""

SEARCH_S = 220.0
"""It takes half a minute on a quiet machine."""

HOOKS = "tests.doubles.schemathesis_formats"


@pytest.mark.timeout(260)
async def test_nothing_is_found(tmp_path: Path) -> None:
    """No answer that is not described, no sound request refused, no unsound one taken, no method or key overlooked."""
    async with ServerProcess(tmp_path, {"MARU_API_KEYS": API_KEY, "MARU_MESSAGE_LOG": "memory"}) as server:
        url = f"http://127.0.0.1:{server.internal_port}"
        search = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {API_KEY}", "--checks", "all", "--workers", "1"),
            *("--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--generation-deterministic", "--no-color"),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(SEARCH_S):
            said, _ = await search.communicate()
        assert search.returncode == 0, said.decode()
        assert server.faults() == []
