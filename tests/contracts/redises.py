"""The kinds of Redis that every contract is held by."""

from collections.abc import Mapping
from typing import Final

import pytest

from server.adapters.redis import keys
from server.domain.channels import ChannelName
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

RedisServer = RedisProcess | ClusterProcess

REDISES: Final[Mapping[str, str]] = {"redis": "redis_server", "redis_cluster": "redis_cluster_server"}
"""The fixture of each, by the param."""


def redis_of(request: pytest.FixtureRequest) -> RedisServer:
    """Return the server that a param names."""
    found: RedisServer = request.getfixturevalue(REDISES[request.param])
    return found


def topic_of(server: RedisServer, channel: ChannelName) -> str:
    """Return the topic on which the replicas of a server hear of a channel."""
    return keys.sharded_topic(channel) if isinstance(server, ClusterProcess) else keys.topic(channel)
