"""Listening sockets, and the address to tell people."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress

from portside.errors import InvalidSettings


def bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Opens listening sockets for a name or an address; all of them have the same port.

    Args:
        host: ``127.0.0.1``, ``::1``, ``localhost``, ``0.0.0.0`` …
        port: 0 for any free one.
        backlog: connections that the kernel keeps until they are accepted.

    Raises:
        InvalidSettings: unknown host, port in use or not allowed.
    """
    if not 0 <= port <= 65535:
        raise InvalidSettings(f"port {port} does not exist: expected 0 (any free one) to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as e:
        raise InvalidSettings(f"host {host!r} is not known here: expected a name or an address of this machine") from e
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        wanted = (address[0], sockets[0].getsockname()[1] if sockets else port, *address[2:])
        opened = socket.socket(family, kind, protocol)
        try:
            _listen(opened, wanted, backlog)
        except OSError as e:
            opened.close()
            if not sockets:
                raise _refused(host, port, e) from e
        else:
            sockets.append(opened)
    return sockets


def url(listening: socket.socket) -> str:
    """An address under which a local client reaches a listening socket."""
    address, port = listening.getsockname()[:2]
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"http://{f'[{ip}]' if ip.version == 6 else ip}:{port}"


def _listen(opened: socket.socket, address: tuple[object, ...], backlog: int) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if opened.family == socket.AF_INET6:
        with suppress(OSError):
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(address)
    opened.listen(backlog)
    opened.setblocking(False)


def _refused(host: str, port: int, error: OSError) -> InvalidSettings:
    if error.errno == errno.EADDRINUSE:
        return InvalidSettings(
            f"port {port} on {host} is in use by another program: stop it, or choose another port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return InvalidSettings(f"port {port} on {host} is not allowed for this user: choose one from 1024 upwards")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidSettings(f"{host} is not an address of this machine: 0.0.0.0 listens on all that it has")
    return InvalidSettings(f"cannot listen on {host} port {port}: {error.strerror or error}")
