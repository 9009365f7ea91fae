"""What all tests share: figures that are printed at the end of the run."""

from collections.abc import Callable

import pytest

Figure = Callable[[object], None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Note a measurement, to be printed at the end of the run under the test's name."""
    # A property of the report, so that it also comes back from a worker process.
    return lambda value: request.node.user_properties.append(("figure", str(value)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements, also those of tests that passed."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call":
                for name, value in report.user_properties:
                    if name == "figure":
                        terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
