"""Origins of pages (RFC 6454), compared with the server's own address."""

_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


def is_own(origin: str, host: str) -> bool:
    """Say whether an `Origin` has the host and the port of the request's `Host`.

    React Native on Android sends the server's own address as the origin of each WebSocket. A port that is left out is
    that of the origin's scheme: whether a proxy has ended TLS is not known here.
    """
    scheme, _, place = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    return port is not None and place != "" and place.removesuffix(port) == host.lower().removesuffix(port)
