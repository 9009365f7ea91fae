"""The parameters of the operations on webhooks."""

import pytest

from server.api.backends.webhooks import OfEndpoint, operations
from server.domain.errors import BadRequest
from tests.doubles.virtual_time import virtually
from tests.doubles.webhooks import WebhookStage


@pytest.mark.parametrize("name", ["A!", "-crm", "crm\n", "crm/dead", "\u0661"])
def test_a_name_that_no_endpoint_has(name: str) -> None:
    """The error says which names there are."""
    with pytest.raises(BadRequest) as raised:
        OfEndpoint.parse({"name": name})
    assert str(raised.value) == "name: expected 1 to 32 of a-z, 0-9, - and _, as in MARU_WEBHOOKS"


def test_the_description_has_the_pattern() -> None:
    """As it was judged."""

    async def scenario() -> None:
        _, dead = WebhookStage().replica()
        for operation in operations(dead):
            name = operation.params.model_json_schema()["properties"]["name"]
            assert (name["pattern"], name["minLength"], name["maxLength"]) == ("^[a-z0-9][a-z0-9_-]*$", 1, 32)

    virtually(scenario)
