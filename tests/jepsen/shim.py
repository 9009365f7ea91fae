"""The wall clock and the disk of a single process, changed while it runs by a small library that is loaded into it."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
NAMES = ("cc", "gcc", "clang")


def built(folder: Path) -> Path | None:
    """Compile the library into a folder; None if there is no compiler."""
    compiler = next(filter(None, map(shutil.which, NAMES)), None)
    if compiler is None:
        return None
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Shim:
    """The controls of one process. Without a library they do nothing, and `works` is False."""

    def __init__(self, library: Path | None, controls: Path) -> None:
        self.works = library is not None
        self._library, self._controls = library, controls
        self._step_s, self._fsync_s = 0.0, 0.0
        self._write()

    @property
    def env(self) -> Mapping[str, str]:
        """The variables to start the process with."""
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "SHIM_CONTROLS": str(self._controls)}

    def step(self, seconds: float) -> None:
        """Set the wall clock so far from the true time."""
        self._step_s = seconds
        self._write()

    def slow(self, seconds: float) -> None:
        """Let each fsync take so much longer."""
        self._fsync_s = seconds
        self._write()

    def _write(self) -> None:
        numbers = struct.pack("=qq", int(self._step_s * 1e9), int(self._fsync_s * 1e6))
        with self._controls.open("r+b" if self._controls.exists() else "wb") as file:
            file.write(numbers)
