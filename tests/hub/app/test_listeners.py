"""Sockets that the service manager holds: they must be where hub.toml could have opened them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.app.listeners import check_reach, hosts_of, trusted_proxies, upgrade_rules
from hub.base.toml.listeners import DeviceListener, OperatorListener, TlsSettings
from hub.links.hosts import BadForwarding
from protocol.errors import CodedError, ErrorCode
from tests.support.coded import coded

EVERYWHERE, HERE = "0.0.0.0", "127.0.0.1"  # what must be refused


@pytest.fixture(params=[EVERYWHERE])
def held(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.create_server((request.param, 0)) as sock:
        yield sock


def test_held_socket_reachable_by_other_machines_without_tls_is_refused(held: socket.socket) -> None:
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.BAD_SETTINGS),
        match=r"0\.0\.0\.0:\d+.*\[listen\.operator\] write tls",
    ):
        check_reach("operators", held, DeviceListener())


@pytest.mark.parametrize(
    "listen",
    [
        DeviceListener(insecure=True),
        DeviceListener(trusted_proxies=("10.0.0.5",)),
        DeviceListener(tls=TlsSettings(certificate=Path("a"), key=Path("b"))),
    ],
)
def test_held_socket_is_accepted_where_the_settings_allow_an_address(
    held: socket.socket, listen: DeviceListener
) -> None:
    check_reach("devices", held, listen)


@pytest.mark.parametrize("held", [HERE], indirect=True)
def test_held_loopback_socket_is_accepted_without_tls(held: socket.socket) -> None:
    check_reach("devices", held, DeviceListener())


def test_held_unix_socket_of_operators_is_accepted() -> None:
    with socket.socket(socket.AF_UNIX) as held:
        check_reach("operators", held, DeviceListener())


def test_proxy_rules_follow_the_tls_settings_of_the_opened_port_until_restart() -> None:
    behind_proxies = DeviceListener(trusted_proxies=("10.0.0.5",))
    with_tls = behind_proxies.model_copy(
        update={"tls": TlsSettings(certificate=Path("a"), key=Path("b"))}  # waits for a restart
    )
    for rules in (
        trusted_proxies(with_tls, opened=behind_proxies),
        upgrade_rules(with_tls, opened=behind_proxies).proxies,
    ):
        with pytest.raises(BadForwarding):
            rules.client("192.0.2.7", {})
    assert trusted_proxies(behind_proxies, opened=with_tls).client("192.0.2.7", {}) == "192.0.2.7"


def test_operator_hosts_include_the_listen_address_and_the_listed_hosts() -> None:
    asked = {"address": "hub.example:8771", "hosts": ["other.example"], "insecure": True}
    hosts = hosts_of(OperatorListener.model_validate(asked))
    assert "hub.example:8771" in hosts and "other.example" in hosts
    assert "evil.example:8771" not in hosts
