"""PROTOCOL.md, "HTTP API", against the table of operations: either side that changes alone fails here."""

import re

from server.api.backends import broadcast, reading, table
from server.api.backends.refusals import MethodNotAllowed, UnsupportedMediaType
from server.application.messages import broadcasting
from server.domain.errors import TABLE, MaruError
from server.domain.rates import DEFAULTS, Bucket
from tests.doubles.api_table import OPERATIONS
from tests.harness.protocol_document import rows, section


def test_the_operations_are_those_of_the_code() -> None:
    """Each once, with its request, its scope, and the fields of its answer."""
    documented = {name: cells for name, *cells in rows(section("HTTP API"), "operation")}
    assert [*documented] == [operation.id for operation in OPERATIONS]
    for operation in OPERATIONS:
        request, scope, answer = documented[operation.id]
        assert request == f"{operation.method} {operation.path}"
        assert scope == (operation.scope or "none")
        assert answer.startswith(str(operation.status))
        fields = re.findall(r"\w+", answer.partition("{")[2].replace(" or ", " "))
        known = {} if operation.answer is None else operation.answer.model_fields
        assert set(fields) <= {*known}
        assert {name for name, field in known.items() if field.is_required()} - {"root"} <= set(fields)


def test_the_statuses_are_those_of_the_code() -> None:
    """Every code stands at its status, and at no other."""
    kinds: tuple[type[MaruError], ...] = (*TABLE, MethodNotAllowed, UnsupportedMediaType)
    documented = {int(status): re.findall(r"\w+", codes) for status, codes in rows(section("Refusals"), "status")}
    assert documented == {
        status: [kind.code for kind in kinds if kind.status == status] for status in sorted({k.status for k in kinds})
    }


def test_the_numbers_are_those_of_the_code() -> None:
    """Sizes, times and rates in the prose."""
    rate = DEFAULTS[Bucket.API_KEY]
    prose = section("HTTP API") + section("Writing") + section("Refusals")
    for sentence in (
        f"at most {table.MAX_BODY_BYTES:,} bytes (those of a broadcast",
        f"and of a list of names or users {broadcast.MAX_BODY_BYTES:,};",
        f"and come within {reading.BODY_S:g} s",
        f"`channels` beside, 1 to {broadcast.MAX_CHANNELS:,} names",
        f"At most {broadcasting.IN_FLIGHT} messages",
        f"within {broadcasting.BROADCAST_S:g} s is `unavailable`",
        f"{rate.per_s:g} a second, {rate.burst} at once",
    ):
        assert sentence in " ".join(prose.split())
