"""Figures of the upgrades, printed at the end of the run."""

from collections.abc import Callable

import pytest

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Note a measurement, to be printed at the end of the run under the test's name."""
    lines = request.config.stash.setdefault(_FIGURES, [])
    return lambda value: lines.append(f"{request.node.name}: {value}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the measurements, also those of tests that passed."""
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
