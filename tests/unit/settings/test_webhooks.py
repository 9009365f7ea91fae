"""`MARU_WEBHOOKS`: what it means, and what stops the start."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.domain.webhooks import WebhookType, types_of
from server.settings.errors import BadSetting
from server.settings.load import describe

SECRET = f"whsec_{'canary00' * 6}"
CRM: dict[str, Any] = {"name": "crm", "url": "https://crm.example.com/maru?token=canary", "secret": SECRET}


def test_an_endpoint(env: Any) -> None:
    """All of its fields, and what they are if they are left out."""
    given = {
        "previous_secret": f"whsec_{'A' * 32}",
        "events": ["message.*"],
        "channels": ["room:*", "ops"],
        "batch": 100,
        "from": "start",
    }
    full, plain = env(WEBHOOKS=json.dumps([{**CRM, **given}, {**CRM, "name": "ops"}])).webhooks
    assert (full.name, full.url, len(full.keys)) == ("crm", CRM["url"], 2)
    assert (full.types, full.channels) == (types_of(["message.*"]), ("room:*", "ops"))
    assert (full.batch, full.from_start) == (100, True)
    assert (plain.types, plain.channels, plain.batch, plain.from_start) == (frozenset(WebhookType), (), 1, False)


@pytest.mark.parametrize("variable", ["WEBHOOKS", "WEBHOOKS_FILE"])
def test_in_a_file(env: Any, tmp_path: Path, variable: str) -> None:
    """Its path may stand in either variable."""
    file = tmp_path / "webhooks.json"
    file.write_text(json.dumps([CRM]))
    assert [each.name for each in env(**{variable: str(file)}).webhooks] == ["crm"]


def test_nothing_of_it_is_shown(env: Any) -> None:
    """Neither secrets nor URLs."""
    settings = env(WEBHOOKS=json.dumps([CRM]))
    shown = {entry.variable: entry.value for entry in describe(settings)}["MARU_WEBHOOKS"]
    assert shown == "********"
    assert "canary" not in repr(settings)


BAD = {
    "no JSON": ('[{"secret": "canary', "expected a JSON list such as"),
    "no file": ("/canary", "expected a JSON list such as"),
    "quoted": ('\'[{"secret": "canary"}]\'', "expected a JSON list such as"),
    "an object": ("{}", "expected a JSON list such as"),
    "twice in an object": ('[{"name": "a", "name": "b"}]', "'name' stands there twice"),
    "too many": (json.dumps([CRM] * 17), "more than 16 endpoints"),
    "twice": (json.dumps([CRM, CRM]), "two endpoints are named 'crm'"),
    "a text": ('["canary"]', "endpoint 1: expected a JSON object"),
    "no name": ("[{}]", "endpoint 1: name: expected 1 to 32 of a-z"),
    "a bad name": (json.dumps([{**CRM, "name": "C R M"}]), "endpoint 1: name: expected 1 to 32 of a-z"),
    "an unknown field": (json.dumps([{**CRM, "uri": "canary"}]), "crm: 'uri' is unknown; expected some of name, url"),
    "no secret": ('[{"name": "crm", "url": "https://example.com"}]', "crm: secret is missing"),
    "a short secret": (json.dumps([{**CRM, "secret": "whsec_canary"}]), "crm: secret: expected whsec_ and 24 to 64"),
    "no text": (json.dumps([{**CRM, "secret": 5}]), "crm: secret: expected a text"),
    "batch": (json.dumps([{**CRM, "batch": 101}]), "crm: batch: expected a whole number of events from 1 to 100"),
    "batch of true": (json.dumps([{**CRM, "batch": True}]), "crm: batch: expected a whole number"),
    "no events": (json.dumps([{**CRM, "events": []}]), "crm: events: expected a list of 1 to 100 types"),
    "events": (json.dumps([{**CRM, "events": ["message.sent"]}]), "crm: events: 'message.sent' covers no type"),
    "channels": (json.dumps([{**CRM, "channels": ["Room:*"]}]), "crm: channels: 'Room:*' is no channel name"),
    "from": (json.dumps([{**CRM, "from": "end"}]), "crm: from: expected 'start', or leave it out"),
    **{
        f"url {url}": (json.dumps([{**CRM, "url": url}]), "crm: url: expected an http or https URL without user")
        for url in (
            "ftp://canary",
            "https://",
            "https://user:canary@example.com",
            "https://canary@example.com",
            "https://example.com:0/",
            "https://example.com:canary/",
            "https://[canary/",
            "https://example.com/#canary",
            "https://example.com/can ary",
            "canary",
            f"https://example.com/{'x' * 2_048}",
        )
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_one_line_without_a_secret(env: Any, name: str) -> None:
    """It names the endpoint and the field."""
    value, line = BAD[name]
    with pytest.raises(BadSetting) as refused:
        env(WEBHOOKS=value)
    said = str(refused.value)
    assert said.startswith(f"MARU_WEBHOOKS: {line}")
    assert "canary" not in said
    assert "\n" not in said
