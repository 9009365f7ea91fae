"""The URL of a Redis Cluster, and those of its nodes.

`redis+cluster://[user:password@]host:port,host:port[/0]`, or `rediss+cluster://` by TLS, with the options of `redis://`.
The hosts are a few nodes that are asked for all others. Every node takes the same user and password.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

Address = tuple[str, int]
"""Host and port of a node."""

PORT: Final = 6_379

SUFFIX: Final = "+cluster"


def is_cluster(url: str) -> bool:
    """Say whether the URL names a cluster."""
    return url.partition("://")[0].lower() in {f"redis{SUFFIX}", f"rediss{SUFFIX}"}


def seeds(url: str) -> Sequence[Address]:
    """Return the nodes that the URL names. Raises `ValueError`, without repeating the URL: it may hold a password."""
    parts = _parts(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    try:
        found = [_address(host) for host in hosts]
    except ValueError:
        found = []
    if not found:
        raise ValueError("not a URL of a Redis Cluster: expected redis+cluster://[user:password@]host:port,host:port")
    return found


def node_url(url: str, address: Address) -> str:
    """Return the URL of a single node. Raises as `seeds`."""
    parts, (host, port) = _parts(url), address
    login, at, _ = parts.netloc.rpartition("@")
    place = f"[{host}]" if ":" in host else host
    return parts._replace(scheme=parts.scheme.removesuffix(SUFFIX), netloc=f"{login}{at}{place}:{port}").geturl()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a URL of a Redis Cluster") from None
    if "@" in parts.path or "#" in url or ("@" in parts.query and "@" not in parts.netloc):
        raise ValueError("not a URL of a Redis Cluster: percent-encode what is special in a password")
    if parts.path not in {"", "/", "/0"}:
        raise ValueError("a Redis Cluster has database 0 only: leave the number out of the URL")
    return parts


def _address(text: str) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a node without a host")
    return parts.hostname, parts.port or PORT
