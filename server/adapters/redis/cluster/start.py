"""Whether a cluster can serve at all, asked at the start."""

import contextlib

from redis.exceptions import RedisError, ResponseError

from server.adapters.redis.cluster.addresses import node_url, seeds
from server.adapters.redis.connection import send
from server.adapters.redis.link import close, connect, make_connection, open_connection, startup_error


async def cluster_error(url: str) -> str | None:
    """As `link.startup_error`: ask the nodes of the URL in turn, until any answers."""
    for seed in seeds(url):
        plain = node_url(url, seed)
        problem = await startup_error(plain)
        if problem is not None:
            return problem
        answer = await _view(plain)
        if isinstance(answer, ResponseError):
            return f"the nodes of a Redis Cluster were expected, and the user must be let call CLUSTER: {answer}"
        if answer is not None:
            return None
    return None


async def _view(url: str) -> object:
    """Return the answer to CLUSTER NODES; None if the node is away."""
    client = connect(url)
    connection = make_connection(client)
    try:
        await open_connection(connection)
        (answer,) = await send(connection, [("CLUSTER", "NODES")])
    except (RedisError, OSError):
        return None
    else:
        return answer
    finally:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        await close(client)
