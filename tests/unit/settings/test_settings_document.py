"""docs/settings.md lists every setting, and no other."""

import re
from pathlib import Path

from server.settings.model import PREFIX, Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_every_setting_has_a_row() -> None:
    """A variable that is not on the page does not exist, and the reverse."""
    rows = re.findall(r"^\| (`MARU_.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"MARU_[A-Z0-9_]+", row)}
    assert named == {PREFIX + field.upper() for field in Settings.model_fields}
