"""Rows of several rounds become figures of one thing: pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.runs import Row
from bench.stats import Spread, ratios, spread

Params = tuple[tuple[str, Any], ...]


class Key(NamedTuple):
    """The name of a measurement: rows that differ in the round alone have the same key."""

    case: str
    peer: str
    params: Params


class Summary:
    """All rows by what they measured, each figure in the order of the rounds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._values: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: dict[Key, str] = {}
        for row in rows:
            key = Key(row.case, row.peer, _params(row.params))
            if row.problem:
                self.problems.setdefault(key, row.problem)
            for name, value in row.values.items():
                self._values[key][name].append(value)

    def keys(self, case: str) -> list[Key]:
        """Return the measurements of a case, in the order in which they came."""
        return [key for key in self._values if key.case == case]

    def values(self, key: Key, metric: str) -> Sequence[float]:
        """Return a figure, round by round; empty if it was not measured."""
        return self._values[key][metric] if key in self._values else ()

    def named(self, key: Key) -> list[tuple[str, float]]:
        """All its figures, of the first round."""
        return [(name, values[0]) for name, values in self._values[key].items()]

    def spread(self, key: Key, metric: str) -> Spread | None:
        """One figure over all rounds."""
        found = self.values(key, metric)
        return spread(found) if found else None

    def ratio(self, ours: Key, theirs: Key, metric: str, metric_theirs: str = "") -> Spread | None:
        """One figure of ours to theirs (the same, or another one), paired by round."""
        found = ratios(self.values(ours, metric), self.values(theirs, metric_theirs or metric))
        return spread(found) if found else None

    def find(self, case: str, peer: str, **params: Any) -> Key | None:
        """The first thing measured with these parameters, whatever its others are."""
        wanted = params.items()
        return next((key for key in self.keys(case) if key.peer == peer and wanted <= dict(key.params).items()), None)


def _params(params: Mapping[str, Any]) -> Params:
    return tuple(params.items())
