"""PROTOCOL.md, "Webhooks", against the code: fields, types, numbers."""

import json
import re
from typing import Any

import orjson

from server.application.outside.webhooks.schedule import (
    BACK_OFF_S,
    DOWN_CHANNELS,
    DOWN_FAILURES,
    IN_FLIGHT,
    MAX_AGE_S,
    MOST_RETRY_AFTER_S,
    REFUSALS,
)
from server.domain.signing import MAX_KEY_BYTES, MIN_KEY_BYTES
from server.domain.webhooks import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, WebhookType
from server.ports.webhook_sender import TIMEOUT_S
from server.ports.webhooks import DEAD_LETTERS, FORGOTTEN_S
from server.settings.webhooks import FIELDS, endpoints
from server.wire.webhooks import notice
from tests.doubles.samples import event
from tests.harness.protocol_document import alike, examples, rows, section

TEXT = section("Webhooks")


def test_the_fields_of_an_endpoint_are_those_of_the_setting() -> None:
    """All, in their order; the example is taken."""
    assert [name for name, *_ in rows(TEXT, "field of an endpoint")] == [*FIELDS]
    assert endpoints(examples(TEXT)[0])


def test_the_types_are_those_of_the_code() -> None:
    """Each has its row."""
    names = [name for cell, *_ in rows(TEXT, "type") for name in re.findall(r"[\w.]+", cell)]
    assert sorted(names) == sorted(WebhookType)


def test_the_example_of_a_request_has_the_fields_of_the_code() -> None:
    """An event as clients are given it."""
    documented: Any = json.loads(examples(TEXT)[1])
    assert alike(documented, orjson.loads(notice(event(7))))


def test_the_numbers_are_those_of_the_code() -> None:
    """In the prose."""
    prose = " ".join(TEXT.split())
    *first, last = (f"{wait:g}" for wait in BACK_OFF_S)
    for sentence in (
        f"`whsec_` and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64",
        f"events in a request, 1 to {MAX_BATCH_EVENTS}",
        f"{MAX_BATCH_BYTES:,} bytes",
        f"no answer within {TIMEOUT_S:g} s",
        f"after {', '.join(first)}, {last} s and then every {last} s",
        f"After {DOWN_FAILURES} failures in a row over {DOWN_CHANNELS} channels",
        f"at most {IN_FLIGHT} requests to an endpoint",
        f"has failed for {MAX_AGE_S / 3600:g} h",
        f"{DEAD_LETTERS:,} are kept",
        f"forgotten after {FORGOTTEN_S / 86_400:g} days",
    ):
        assert sentence in prose
    assert (REFUSALS, MOST_RETRY_AFTER_S) == (5, 3600)  # "five times in a row", "up to an hour"
