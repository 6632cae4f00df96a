"""The addresses behind a host name to listen on, and the names by which others may reach it."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from mmrag.errors import MmragError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def bound_addresses(host: str | None) -> list[str]:
    """The addresses that a server listens on when given `host`; None or "" means all.

    Raises:
        MmragError: no such name.
    """
    try:
        found = socket.getaddrinfo(
            host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise MmragError(f"{host!r} is no address of this machine: {error}.") from error
    return sorted({str(one[4][0]).partition("%")[0] for one in found})


def is_local(host: str | None) -> bool:
    """Whether only this machine reaches a server that listens on `host`, whatever its name."""
    return all(ipaddress.ip_address(one).is_loopback for one in bound_addresses(host))


def reachable_names(host: str | None) -> list[str]:
    """The names and addresses by which a server on `host` may be asked, for its allowed hosts."""
    addresses = bound_addresses(host)
    names = [*LOCAL_NAMES, host or "", *addresses]
    if not is_local(host):
        names += [socket.gethostname(), socket.getfqdn()]
    if any(ipaddress.ip_address(one).is_unspecified for one in addresses):
        names += [
            one.address.partition("%")[0]
            for several in psutil.net_if_addrs().values()
            for one in several
            if one.family in (socket.AF_INET, socket.AF_INET6)
        ]
    return [name.lower() for name in dict.fromkeys(names) if name]
