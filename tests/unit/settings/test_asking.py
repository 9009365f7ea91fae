"""`MARU_HOOK_URL` and its secrets: what is taken, and what stops the start."""

from pathlib import Path
from typing import Any

import pytest

from server.settings.asking import MAX_URL_CHARS
from server.settings.errors import BadSetting
from server.settings.load import describe

URL = "https://app.example.com/maru"
SECRET = "whsec_" + "c2VjcmV0" * 4
BEFORE = "whsec_" + "b3RoZXJz" * 4
RULES = '{"room:*": {"hooks": ["send"]}}'


@pytest.mark.parametrize("url", [URL, "http://10.0.0.7:8000/", "http://[fd00::7]:8000/x?tenant=7", "http://hooks.svc"])
def test_a_backend(env: Any, url: str) -> None:
    """By https or http, also in a private network: the operator names it. URL and secrets are shown nowhere."""
    settings = env(HOOK_URL=url, HOOK_SECRET=SECRET, HOOK_SECRET_PREVIOUS=BEFORE, CHANNEL_RULES=RULES)
    assert settings.hook_url.get_secret_value() == url
    shown = {entry.variable: entry.value for entry in describe(settings)}
    names = ("MARU_HOOK_URL", "MARU_HOOK_SECRET", "MARU_HOOK_SECRET_PREVIOUS")
    assert {shown[name] for name in names} == {"********"}
    assert SECRET not in repr(settings)


def test_secrets_in_files(env: Any, tmp_path: Path) -> None:
    """As orchestrators mount them."""
    (tmp_path / "now").write_text(f"{SECRET}\n")
    (tmp_path / "before").write_text(BEFORE)
    settings = env(HOOK_URL=URL, HOOK_SECRET_FILE="now", HOOK_SECRET_PREVIOUS_FILE="before")
    assert settings.hook_secret.get_secret_value() == SECRET
    assert settings.hook_secret_previous.get_secret_value() == BEFORE


EXPECTED = "MARU_HOOK_URL: expected a URL such as https://app.example.com/maru, or one of http"
WRONG = {
    "another scheme": ({"HOOK_URL": "ftp://canary/x"}, EXPECTED),
    "no scheme": ({"HOOK_URL": "canary.example.com/x"}, EXPECTED),
    "no host": ({"HOOK_URL": "https:///canary"}, EXPECTED),
    "no port": ({"HOOK_URL": "https://canary:99999/"}, EXPECTED),
    "port 0": ({"HOOK_URL": "https://canary:0/"}, EXPECTED),
    "half an address": ({"HOOK_URL": "https://[canary/"}, EXPECTED),
    "a space": ({"HOOK_URL": "https://canary/a b"}, EXPECTED),
    "letters beyond ASCII": ({"HOOK_URL": "https://canary/\u00e4"}, EXPECTED),
    "long": ({"HOOK_URL": f"https://canary/{'x' * MAX_URL_CHARS}"}, EXPECTED),
    "a password": ({"HOOK_URL": "https://user:canary@host/"}, "MARU_HOOK_URL: the URL holds a user or a password;"),
    "a part of a page": ({"HOOK_URL": "https://host/#canary"}, "MARU_HOOK_URL: the URL holds a part behind '#'"),
    "quotes": ({"HOOK_URL": '"https://canary/"'}, "MARU_HOOK_URL: stands in quotes"),
    "no secret": ({"HOOK_URL": URL}, "MARU_HOOK_SECRET: not set, and MARU_HOOK_URL is; expected whsec_ and base64"),
    "no whsec": ({"HOOK_URL": URL, "HOOK_SECRET": "canary" * 6}, "MARU_HOOK_SECRET: expected whsec_ and 24 to 64"),
    "short": ({"HOOK_URL": URL, "HOOK_SECRET": "whsec_canary"}, "MARU_HOOK_SECRET: expected whsec_ and 24 to 64"),
    "a secret for nobody": ({"HOOK_SECRET": SECRET}, "MARU_HOOK_SECRET: needs MARU_HOOK_URL, which is not set"),
    "only the previous secret": (
        {"HOOK_SECRET_PREVIOUS": SECRET},
        "MARU_HOOK_SECRET_PREVIOUS: needs MARU_HOOK_SECRET, which is not set",
    ),
    "nobody to ask": ({"CHANNEL_RULES": RULES}, "MARU_CHANNEL_RULES: room:*: hooks: needs MARU_HOOK_URL, which is not"),
}


@pytest.mark.parametrize(("given", "line"), WRONG.values(), ids=WRONG)
def test_a_fault_stops_the_start(env: Any, given: dict[str, str], line: str) -> None:
    """A single line that names the variable, and shows neither URL nor secret."""
    with pytest.raises(BadSetting) as refused:
        env(**given)
    assert str(refused.value).startswith(line)
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)
