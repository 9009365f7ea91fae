"""Judge a written history again: `python -m tests.jepsen.judge PATH`. Returns 1 if a promise was broken."""

import sys
from pathlib import Path

from tests.jepsen.checker import check
from tests.jepsen.history import read


def main(path: Path) -> int:
    """Print every violation."""
    verdict = check(read(path))
    for violation in verdict.violations:
        sys.stdout.write(f"{violation.kind} in {violation.channel}: {violation.story} {violation.records}\n")
    sys.stdout.write(f"{dict(verdict.figures)}\n{dict(verdict.faults)}\n{len(verdict.violations)} violations\n")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
