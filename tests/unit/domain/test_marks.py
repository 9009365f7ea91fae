"""The bounds of what users follow."""

from server.domain.errors import Conflict
from server.domain.marks import MAX_FOLLOWS, too_many_follows


def test_a_user_follows_so_many_channels() -> None:
    """The refusal names the bound."""
    refusal = too_many_follows()
    assert isinstance(refusal, Conflict)
    assert str(MAX_FOLLOWS) in refusal.message
