"""Values: their spellings, and their refusals."""

import pytest

from server.settings.values import duration, moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("12h", 43_200), ("30d", 2_592_000), ("5m", 300), ("250ms", 0.25), ("1.5", 1.5), ("0", 0), (7, 7)],
)
def test_durations(text: object, seconds: float) -> None:
    """A number and a unit; seconds where there is none."""
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1w", "1 h 2 m", "1e3", "nan", "inf", True, "0.5ms", "1.0001s", "9" * 40]
)
def test_no_durations(text: object) -> None:
    """Anything else, and parts of a millisecond."""
    with pytest.raises(ValueError, match="expected"):
        duration(text)


def test_moments_of_rfc_3339() -> None:
    """With an offset, or Z; anything that could be meant otherwise is refused."""
    assert moment("2027-01-31T12:00:00Z").timestamp() == 1_801_396_800
    assert moment("2027-01-31t13:00:00.250+01:00").timestamp() == 1_801_396_800.25
    for bad in ("2027-01-31", "2027-01-31T12:00:00", "2027-02-30T12:00:00Z", "1801396800", "", "tomorrow"):
        with pytest.raises(ValueError, match="RFC 3339"):
            moment(bad)
