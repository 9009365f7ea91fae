"""The metrics port: the metrics that count nothing."""

import inspect

from server.domain.outcomes import CloseReason, DrainEnd, JwksFetch, KeyOrigin, ReplaySource
from server.ports.metrics import SILENT, Metrics
from tests.doubles.samples import event


def test_the_silent_one_knows_every_call() -> None:
    """Nothing comes of it, and nothing goes wrong."""
    arguments = {
        "reason": CloseReason.REFUSED,
        "command": "x",
        "code": "ok",
        "scope": "session",
        "seconds": 1.0,
        "event": event(1),
        "origin": KeyOrigin.CURRENT,
        "outcome": JwksFetch.OK,
        "not_resumable": None,
        "operation": "x",
        "status": 200,
        "source": ReplaySource.LOG,
        "active": True,
        "how": DrainEnd.LEFT,
    }
    calls = [name for name in dir(Metrics) if not name.startswith("_")]
    assert len(calls) >= 16
    for name in calls:
        call = getattr(SILENT, name)
        given = [arguments.get(needed, "x") for needed in inspect.signature(call).parameters if needed != "count"]
        assert call(*given) is None
