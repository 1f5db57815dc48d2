"""Addresses of this machine itself. What goes there goes straight there, whatever proxy the environment names."""

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine, by its name or address; no name is looked up."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False  # whoever opens it says what is wrong with it
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _short_form(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_loopback or address.is_unspecified  # Linux takes 0.0.0.0 and :: for loopback


def _short_form(host: str) -> bool:
    """`127.1` and the like, which the system's resolver takes for an address."""
    if not host[:1].isdigit():
        return False
    try:
        return socket.inet_aton(host)[0] == 127
    except (OSError, UnicodeEncodeError):
        return False
