"""Settings of a test's own: nothing from the machine's environment."""

import os
from pathlib import Path
from typing import Any

import pytest

from server.settings.load import load
from server.settings.model import Settings

SECRET = "canary-canary-canary-canary-canary"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no variable of the outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("MARU_") or name.startswith("KUBERNETES_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables, given without their prefix, and load."""

    def start(**values: str) -> Settings:
        for name, value in ({"JWT_SECRET": SECRET} | values).items():
            monkeypatch.setenv(f"MARU_{name}", value)
        return load()

    return start
