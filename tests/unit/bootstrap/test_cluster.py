"""The secret of hints: what all replicas share, and nobody else."""

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from server.bootstrap.cluster import hint_secret
from server.settings.model import Settings

KEY = "-----BEGIN PUBLIC KEY-----"
PASSWORD = "redis://:hunter2@127.0.0.1"


def settings(jwt: str | None = None, cluster: str | None = None, url: str = PASSWORD) -> Settings:
    """Settings with a public key, unless there is a secret to sign with."""
    return Settings(
        _env_file=None,
        jwt_secret=None if jwt is None else SecretStr(jwt),
        jwt_public_key=KEY if jwt is None else None,
        cluster_secret=None if cluster is None else SecretStr(cluster),
        redis_url=SecretStr(url),
    )


def test_the_first_that_is_there() -> None:
    """The cluster's own, the tokens', or Redis' password, which is not used as it is."""
    with capture_logs() as lines:
        assert hint_secret(settings("the tokens'", "the cluster's")) == b"the cluster's"
        assert hint_secret(settings(None, "the cluster's")) == b"the cluster's"
        assert hint_secret(settings("the tokens'")) == b"the tokens'"
        by_password = hint_secret(settings())
        assert by_password == hint_secret(settings(url="redis+sentinel://:hunter2@127.0.0.1/0"))
        assert by_password != hint_secret(settings(url="redis://:hunter3@127.0.0.1"))
        assert b"hunter2" not in by_password
    assert lines == []


@pytest.mark.parametrize("url", ["redis://127.0.0.1", "redis://:@127.0.0.1"])
def test_nothing_in_common_is_told(url: str) -> None:
    """The replicas agree all the same, on nothing secret."""
    with capture_logs() as lines:
        assert hint_secret(settings(url=url)) == hint_secret(settings(url=url))
    assert [(line["event"], line["log_level"]) for line in lines] == [("cluster.secret_missing", "warning")] * 2
