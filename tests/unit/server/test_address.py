from __future__ import annotations

import socket

import pytest

from portside.errors import InvalidSettings
from portside.server.address import bind, url


def close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def test_any_free_port_is_told() -> None:
    sockets = bind("127.0.0.1", 0, 8)
    port = sockets[0].getsockname()[1]
    assert port > 0
    assert url(sockets[0]) == f"http://127.0.0.1:{port}"
    close(sockets)


def test_a_name_listens_on_all_its_addresses_at_one_port() -> None:
    sockets = bind("localhost", 0, 8)
    assert len({s.getsockname()[1] for s in sockets}) == 1
    assert sockets[0].family is socket.AF_INET
    close(sockets)


def test_every_interface_is_told_as_the_local_one() -> None:
    sockets = bind("0.0.0.0", 0, 8)
    assert url(sockets[0]).startswith("http://127.0.0.1:")
    close(sockets)


@pytest.mark.parametrize(("host", "start"), [("::1", "http://[::1]:"), ("::", "http://[::1]:")])
def test_ipv6(host: str, start: str) -> None:
    try:
        sockets = bind(host, 0, 8)
    except InvalidSettings:
        pytest.skip("this machine has no IPv6")
    assert url(sockets[0]).startswith(start)
    close(sockets)


def test_a_port_in_use() -> None:
    sockets = bind("127.0.0.1", 0, 8)
    port = sockets[0].getsockname()[1]
    with pytest.raises(InvalidSettings, match=rf"port {port} on 127.0.0.1 is in use by another program"):
        bind("127.0.0.1", port, 8)
    close(sockets)


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("no-such-host.invalid", 0, "not known here"),
        ("a" * 300, 0, "not known here"),
        ("127.0.0.1", 65536, "does not exist"),
        ("127.0.0.1", -1, "does not exist"),
        ("192.0.2.1", 0, "not an address of this machine"),
    ],
)
def test_where_nothing_can_listen(host: str, port: int, message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        bind(host, port, 8)
