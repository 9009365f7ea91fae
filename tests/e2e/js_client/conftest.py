"""The package as its users have it: packed, and installed into an empty project."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.server import ROOT

CLIENT = ROOT / "clients/js"
NPM_S = 100.0


def npm(*words: str | Path, folder: Path) -> None:
    """Run npm; its output is shown if it fails."""
    done = subprocess.run(
        ["npm", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=NPM_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package, and with socket.io-client beside it."""
    folder = tmp_path_factory.mktemp("project")
    npm("init", "-y", folder=folder)
    npm("pack", "--silent", "--pack-destination", folder, folder=CLIENT)
    [archive] = folder.glob("*.tgz")
    npm("install", "--offline", "--no-audit", "--no-fund", "--legacy-peer-deps", archive, folder=folder)
    (folder / "node_modules/socket.io-client").symlink_to(CLIENT / "node_modules/socket.io-client")
    return folder
