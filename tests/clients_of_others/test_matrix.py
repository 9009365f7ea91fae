"""Clients that nobody here wrote, unchanged from their packages, against a real server: client by case."""

import pytest

from tests.clients_of_others import faults, talking
from tests.clients_of_others.cell import Case
from tests.clients_of_others.hidden import HIDDEN
from tests.clients_of_others.matrix import Matrix
from tests.conftest import Figure

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CASES = talking.CASES + faults.CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_cell(matrix: Matrix, case: Case, client: str) -> None:
    """The client does what the case asks; or its library hides it, and then it really does."""
    failure = await matrix.cell(case, client)
    reason = HIDDEN.get((case.name, client))
    if reason is not None:
        assert failure is not None, f"it does not hide this any more: {reason}"
    elif failure is not None:
        raise failure


async def test_the_whole(matrix: Matrix, figure: Figure) -> None:
    """The matrix, printed at the end of the run."""
    figure(matrix)
