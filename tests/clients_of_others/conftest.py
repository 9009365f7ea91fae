"""The puppets of the clients that were asked for."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.clients_of_others.clients import CHROMIUM, COMPILED, INSTALLED
from tests.clients_of_others.matrix import Matrix
from tests.clients_of_others.puppet import ProgramPuppet, Puppet, page_puppet
from tests.harness.server import ServerProcess

ALL = os.environ.get("CLIENTS_OF_OTHERS") == "all"
"""Set by `make clients-test`, which has the toolchains."""

COMMANDS = {**INSTALLED, **(COMPILED if ALL else {})}

collect_ignore = [] if ALL else ["test_recipe.py"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each cell its client."""
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", COMMANDS)


def _asked_for(request: pytest.FixtureRequest) -> list[str]:
    """The clients of the tests that run, in the matrix' order: `-k Rust` starts no other."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    names = {item.callspec.params.get("client") for item in items if hasattr(item, "callspec")}
    return [name for name in COMMANDS if name in names]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Matrix]:
    """The matrix, empty."""
    puppets: dict[str, Puppet] = {}
    async with AsyncExitStack() as stack:
        for name in _asked_for(request):
            opened = page_puppet() if name == CHROMIUM else ProgramPuppet(COMMANDS[name]()).running()
            puppets[name] = await stack.enter_async_context(opened)
        server = await stack.enter_async_context(ServerProcess(tmp_path_factory.mktemp("shared")))
        yield Matrix(puppets, server, tmp_path_factory.mktemp("matrix"))
