"""How well Redis is guarded, by its URL."""

import pytest

from server.adapters.redis.exposure import lacks, password


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("redis://127.0.0.1", ()),
        ("redis://localhost:6379/3", ()),
        ("redis://[::1]:6379", ()),
        ("unix:///run/redis.sock", ()),
        ("rediss://:hunter2@redis", ()),
        ("redis://redis", ("a password", "TLS")),
        ("redis://:hunter2@10.0.0.1", ("TLS",)),
        ("redis://maru:hunter2@redis/1", ("TLS",)),
        ("redis://redis?password=hunter2", ("TLS",)),
        ("rediss://redis", ("a password",)),
        ("redis+sentinel://localhost,127.0.0.1", ()),
        ("redis+sentinel://localhost,sentinel-2/0", ("a password", "TLS")),
        ("redis+sentinel://:hunter2@sentinel-1,sentinel-2/0", ("TLS",)),
        ("rediss+sentinel://:hunter2@sentinel-1,sentinel-2/0/chat", ()),
    ],
)
def test_what_is_missing(url: str, missing: tuple[str, ...]) -> None:
    """Nothing on this machine; a password and TLS on the way to another."""
    assert lacks(url) == missing


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://redis", None),
        ("redis://:@redis", None),
        ("redis://maru:hunter%2F2@redis", "hunter/2"),
        ("redis+sentinel://:hunter2@a,b/0", "hunter2"),
    ],
)
def test_the_password(url: str, found: str | None) -> None:
    """As Redis is told it."""
    assert password(url) == found
