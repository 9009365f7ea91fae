"""A server whose engine has no library says what to install."""

import configparser
import importlib
from pathlib import Path

import pytest

from server.bootstrap.libraries import EXTRAS, libraries_needed
from server.settings.errors import StartRefused

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_a_missing_library_is_one_line(module: str, extra: str) -> None:
    """Also if a part of it is looked for first."""
    with pytest.raises(StartRefused, match=rf"{module}.* is not installed.*maru-server\[{extra}\]"), libraries_needed():
        raise ModuleNotFoundError(f"No module named '{module}.part'", name=f"{module}.part")


def test_another_module_is_a_fault() -> None:
    """What the server itself lacks is no setting of the operator's."""
    with pytest.raises(ModuleNotFoundError), libraries_needed():
        importlib.import_module("server.adapters.nowhere")


def test_the_extras_exist() -> None:
    """setup.cfg has them by these names."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    for module, extra in EXTRAS.items():
        assert module.partition("_")[0] in extras[extra]
