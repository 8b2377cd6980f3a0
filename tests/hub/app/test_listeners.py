"""Sockets that the service manager holds: they must be where hub.toml could have opened them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.app.listeners import check_reach, operator_hosts, trusted_proxies, upgrade_rules
from hub.links.hosts import BadForwarding
from hub.settings.limit_settings import DeviceListener, OperatorListener, TlsSettings
from protocol.errors import CodedError, ErrorCode
from tests.support.coded import coded

EVERYWHERE, HERE = "0.0.0.0", "127.0.0.1"  # what must be refused


@pytest.fixture(params=[EVERYWHERE])
def held(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.create_server((request.param, 0)) as sock:
        yield sock


def test_a_held_socket_that_other_machines_reach_without_tls_is_refused(held: socket.socket) -> None:
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
def test_a_held_socket_may_be_wherever_the_settings_would_allow_one(
    held: socket.socket, listen: DeviceListener
) -> None:
    check_reach("devices", held, listen)


@pytest.mark.parametrize("held", [HERE], indirect=True)
def test_a_held_socket_of_this_machine_needs_nothing(held: socket.socket) -> None:
    check_reach("devices", held, DeviceListener())


def test_a_held_unix_socket_is_guarded_by_its_group() -> None:
    with socket.socket(socket.AF_UNIX) as held:
        check_reach("operators", held, DeviceListener())


def test_until_a_restart_who_comes_past_the_proxies_is_judged_by_how_the_port_was_opened() -> None:
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


def test_operators_may_ask_for_the_name_that_their_port_was_given() -> None:
    asked = {"address": "hub.example:8771", "hosts": ["other.example"], "insecure": True}
    hosts = operator_hosts(OperatorListener.model_validate(asked))
    assert "hub.example:8771" in hosts and "other.example" in hosts
    assert "evil.example:8771" not in hosts
