"""Values: their spellings, and their refusals."""

from typing import Any

import pytest

from server.settings.values import duration, http_url, moment


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


@pytest.mark.parametrize(
    "url",
    ["https://id.example/jwks.json?v=1", "http://127.0.0.1:8081", "https://[::1]:8443/keys", "https://id.example."],
)
def test_urls(url: str) -> None:
    """Of http and https, as they are."""
    assert http_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://id.example", "https://", "https:///path", "https://id.example:0", "https://id.example:x", "https://[::1",
        "https://id.example/a b", "https://id.example/#keys", "https://user@id.example", "https://é.example",
        "https://id.example/" + "x" * 2_048,
    ],
)  # fmt: skip
def test_no_urls(url: str) -> None:
    """Nor with a user, a fragment, a space, or too long; the text is not repeated."""
    with pytest.raises(ValueError, match=r"^(expected a URL|has a)") as refused:
        http_url(url)
    assert "id.example/" not in str(refused.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8081", "[::1]:8081", "id.example"])
def test_an_issuer_by_http(env: Any, host: str) -> None:
    """On this machine; elsewhere if the operator says that nobody is between."""
    insecure = {"JWT_JWKS_INSECURE": "1"} if host == "id.example" else {}
    settings = env(JWT_SECRET="", JWT_JWKS_URL=f"http://{host}/keys", **insecure)
    assert settings.jwt_jwks_url == f"http://{host}/keys"
