"""What is said at the start about the tokens that are taken."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from server.bootstrap.tokens import tell_of_any_issuer
from server.settings.model import Settings

SECRET = "a-secret-of-more-than-32-bytes-0123456789"


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"jwt_secret": SECRET}, True),
        ({"jwt_secret": SECRET, "jwt_issuer": "https://login.example.com"}, False),
        ({"jwt_secret": SECRET, "jwt_audience": "chat"}, False),
        ({"dev": True}, False),
    ],
)
def test_tokens_of_any_service_are_warned_of(values: dict[str, Any], warned: bool) -> None:
    """A single line, with what to set; none where a claim is asked for, or the secret is of this server alone."""
    with capture_logs() as lines:
        tell_of_any_issuer(Settings(_env_file=None, **values))
    assert [(line["event"], line["log_level"]) for line in lines] == [("tokens.any_issuer", "warning")] * warned
    for line in lines:
        assert "MARU_JWT_AUDIENCE" in line["remedy"]
        assert SECRET not in str(line)
