"""What all tests share: figures that are printed at the end of the run, and the end of clients that a test has left."""

from collections import Counter
from collections.abc import Callable, Generator

import pytest

from tests.clients.raw import OPENED

Figure = Callable[[object], None]

LONG = {"test_victims.py", "test_victims_of_work.py", "test_okhttp.py", "test_matrix.py"}
"""Files of many tests that take a minute or more. Of the others those of few tests take long."""

WAITING = {
    "test_backlogs.py",
    "test_connect_again.py",
    "test_control.py",
    "test_deadlines.py",
    "test_limits.py",
    "test_nats_cluster.py",
    "test_nats_link.py",
    "test_notices.py",
    "test_okhttp.py",
    "test_presence_api.py",
    "test_presence_cluster.py",
    "test_sessions.py",
    "test_webhooks.py",
}
"""Files that take long and need little CPU: a process beside those that share the others runs them, one by one."""


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Note a measurement, to be printed at the end of the run under the test's name."""
    # A property of the report, so that it also comes back from a worker process.
    return lambda value: request.node.user_properties.append(("figure", str(value)))


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what waits. Begin with the files that take long: workers that share the files then end together."""
    for item in items:
        if item.path.name in WAITING and item.get_closest_marker("alone") is None:
            item.add_marker(pytest.mark.waits)
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONG, tests[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Close the connections that a test has opened and left when it failed: Python warns of each that is collected
    unclosed, during a later test, which would fail of the warning."""
    before = set(OPENED)
    try:
        return (yield)
    except BaseException:  # whatever it failed of
        for client in set(OPENED) - before:
            client.vanish()
        raise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements, also those of tests that passed."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call":
                for name, value in report.user_properties:
                    if name == "figure":
                        terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
