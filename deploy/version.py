"""Write the server's version to every place that has a copy: `python -m deploy.version`; `--check` only compares.

The version itself stands in `server/settings/model.py`.
"""

import argparse
import re
import sys
from pathlib import Path

from server.settings.model import VERSION

ROOT = Path(__file__).parents[1]

_NUMBER = r"\d+\.\d+\.\d+"

PLACES = {
    "charts/maru/Chart.yaml": (rf"^version: ({_NUMBER})$", rf'^appVersion: "({_NUMBER})"$'),
    "charts/maru/README.md": (rf"/maru:({_NUMBER})",),
    "Dockerfile": (rf"^ARG VERSION=({_NUMBER})$",),
    "PROTOCOL.md": (rf'"server": ?\{{"version": ?"({_NUMBER})"\}}',),
    "docs/operations.md": (rf"/maru:({_NUMBER})",),
}
"""The files with copies, and how each copy looks. A file without one is a fault."""


def main(arguments: list[str]) -> int:
    """Write the copies, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.version", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a copy differs")
    check: bool = parser.parse_args(arguments).check
    differing = [name for name in PLACES if not _agrees(ROOT / name, PLACES[name], write=not check)]
    for name in differing:
        print(f"{name}: {'differs from' if check else 'written for'} version {VERSION}")
    return 1 if check and differing else 0


def with_version(text: str, patterns: tuple[str, ...], version: str) -> str:
    """Return the text with this version in each copy. Raises `ValueError` if a pattern is not found."""
    for pattern in patterns:
        text, found = re.subn(pattern, lambda copy: _replaced(copy, version), text, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"no copy of the version: {pattern}")
    return text


def _replaced(copy: re.Match[str], version: str) -> str:
    start, end = copy.span(1)
    return copy[0][: start - copy.start()] + version + copy[0][end - copy.start() :]


def _agrees(file: Path, patterns: tuple[str, ...], *, write: bool) -> bool:
    """Say whether the file has the version; if not, write it."""
    text = file.read_text("utf-8")
    wanted = with_version(text, patterns, VERSION)
    if write and wanted != text:
        file.write_text(wanted, "utf-8")
    return wanted == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
