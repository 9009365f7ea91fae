"""Addresses of this machine."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Say whether a host, by name or address, is reached from this machine alone."""
    if host is None:
        return False
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never another machine
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
