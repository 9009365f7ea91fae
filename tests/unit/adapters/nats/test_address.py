"""The URL of NATS."""

from pathlib import Path

import pytest

from server.adapters.nats.address import parse


@pytest.mark.parametrize(
    ("url", "servers", "login"),
    [
        ("nats://one", ("nats://one:4222",), {}),
        ("nats://one:1,two", ("nats://one:1", "nats://two:4222"), {}),
        ("nats://[::1]:7", ("nats://[::1]:7",), {}),
        ("nats://a:b%40c@one", ("nats://one:4222",), {"user": "a", "password": "b@c"}),
        ("nats://t%2Fn@one", ("nats://one:4222",), {"token": "t/n"}),
    ],
)
def test_servers_and_login(url: str, servers: tuple[str, ...], login: dict[str, str]) -> None:
    """Several servers share the login."""
    address = parse(url)
    assert (address.servers, address.login, address.tls) == (servers, login, None)


def test_tls_checks_certificates() -> None:
    """And names, unlike the library's own default without a context."""
    context = parse("tls://one").tls
    assert context is not None
    assert context.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "redis://one",
        "one:4222",
        "nats://",
        "nats://one:port",
        "nats://one/secret",
        "nats://a:se/cret@one",
        "nats://a:se#cret@one",
        "nats://a:se?cret@one",
        "nats://one,,two",
        "nats://[::1",
        "nats://one?ssl_ca_certs=x",
        "tls://one?ssl_keys=x",
        "tls://one?ssl_ca_certs=/nowhere/secret",
    ],
)
def test_what_is_no_url_is_not_repeated(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match="URL") as refused:
        parse(url)
    assert "secret" not in str(refused.value)


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    """At the start, and not at each try."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="a file that the URL names for TLS can't be used"):
        parse(f"tls://one?ssl_ca_certs={tmp_path}/ca.pem")
