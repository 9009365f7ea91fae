"""The ways to Redis, chosen by the URL: to a node, or to those of a cluster. The caller closes them."""

import secrets

from server.adapters.redis import keys, link
from server.adapters.redis.appends import Appends, Opening, Read
from server.adapters.redis.cluster.addresses import is_cluster
from server.adapters.redis.cluster.appends import ClusterAppends
from server.adapters.redis.cluster.exchange import ClusterExchange
from server.adapters.redis.cluster.listener import ClusterListener
from server.adapters.redis.cluster.nodes import nodes_of
from server.adapters.redis.cluster.pipeline import ClusterPipeline
from server.adapters.redis.cluster.start import cluster_error
from server.adapters.redis.exchange import Exchange
from server.adapters.redis.link import connect
from server.adapters.redis.listener import Hearing, Listener
from server.adapters.redis.master import Master
from server.adapters.redis.pipeline import Pipeline


def pipeline(url: str, master: Master, keep: int | None = None) -> Pipeline:
    """Return a pipeline. Raises `ValueError`."""
    if is_cluster(url):
        return ClusterPipeline(nodes_of(url, master), keep)
    return Pipeline(connect(url), master, keep)


def exchange(url: str, master: Master) -> Exchange:
    """Return an exchange for commands that may block: they hold up nobody else's. Raises `ValueError`."""
    if is_cluster(url):
        return ClusterExchange(nodes_of(url, master), patient=True)
    return Exchange(connect(url), master)


def appends(url: str, master: Master, keep: int, opening: Opening, read: Read) -> Appends:
    """Return the queue of drafts. Raises `ValueError`."""
    if is_cluster(url):
        return ClusterAppends(nodes_of(url, master), keep, opening, read)
    return Appends(Exchange(connect(url), master, keep), opening, read)


def listener(url: str, master: Master, shared: str, prefix: str, hearing: Hearing) -> Listener | ClusterListener:
    """Return what hears the topics of channels, and the `shared` topic always. Raises `ValueError`."""
    if is_cluster(url):
        return ClusterListener(nodes_of(url, master), shared, prefix, hearing)
    return Listener(url, master, (shared, keys.pulse(secrets.token_hex(8), prefix)), hearing)


def database(url: str) -> int:
    """Return the number of the database. Raises `ValueError`."""
    return 0 if is_cluster(url) else link.database(connect(url))


async def follow(url: str, master: Master) -> None:
    """Follow what tells of a change of masters, until cancelled. Return at once if there is nothing to follow."""
    if is_cluster(url):
        await nodes_of(url, master).follow()
    else:
        await link.follow(url, master)


async def startup_error(url: str) -> str | None:
    """Return why Redis will not serve this URL until somebody changes Redis or the URL; None if it serves, or is only
    away. Raises `ValueError`."""
    if is_cluster(url):
        return await cluster_error(url)
    return await link.startup_error(url)
