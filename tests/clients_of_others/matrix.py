"""The matrix, client by case: each row is filled at once, by all clients at the same server."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.clients_of_others.cell import Case, Cell
from tests.clients_of_others.hidden import HIDDEN, UNORDERED
from tests.clients_of_others.puppet import Puppet
from tests.harness.server import ServerProcess


class Matrix:
    """The cells that are filled so far, by case and client.

    Cases that do nothing to their server use `shared`; each of the others starts one in `folder`.
    """

    def __init__(self, puppets: Mapping[str, Puppet], shared: ServerProcess, folder: Path) -> None:
        self.rows: dict[str, Mapping[str, BaseException | None]] = {}
        self._puppets, self._shared, self._folder = puppets, shared, folder

    async def cell(self, case: Case, client: str) -> BaseException | None:
        """Return why a client fails in a case; fills the row first if need be."""
        if case.name not in self.rows:
            self.rows[case.name] = await self._fill(case)
        return self.rows[case.name][client]

    async def _fill(self, case: Case) -> Mapping[str, BaseException | None]:
        async with AsyncExitStack() as stack:
            if case.is_kind:
                server = self._shared
            else:
                folder = self._folder / case.slug
                folder.mkdir()
                server = await stack.enter_async_context(ServerProcess(folder, case.env))
            cells = [
                Cell(name, puppet, server, f"room:{case.slug}.{number}")
                for number, (name, puppet) in enumerate(self._puppets.items())
            ]
            await case.run(server, cells)
            assert server.faults() == []
        return {cell.client: cell.failure for cell in cells}

    def __str__(self) -> str:
        head = ["case", *self._puppets]
        rows = [
            [case, *(_mark(case, name, failure) for name, failure in row.items())] for case, row in self.rows.items()
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [_line(row, widths) for row in (head, ["-" * width for width in widths], *rows)]
        reasons = [
            f"L {case}: {client} {reason}"
            for (case, client), reason in HIDDEN.items()
            if case in self.rows and client in self._puppets
        ]
        notes = [f"{client} {how}" for client, how in UNORDERED.items() if client in self._puppets]
        return "\n".join(("", *lines, "P passes, F fails, L hidden by the library:", *reasons, *notes))


def _mark(case: str, client: str, failure: BaseException | None) -> str:
    """P, F or L."""
    if (case, client) in HIDDEN:
        return "L" if failure is not None else "F"
    return "P" if failure is None else "F"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
