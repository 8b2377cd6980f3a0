"""Who is behind a proxy, and whose word counts for it."""

import pytest

from hub.links.hosts import BadForwarding, Hosts, TrustedProxies
from tests.support.families import each

PROXIES = TrustedProxies(["10.0.0.0/24", "192.168.1.5", "fd00::/8"])


@each(
    ("headers", "client"),
    [
        ({"X-Forwarded-For": ["203.0.113.7"]}, "203.0.113.7"),
        ({"X-Forwarded-For": ["203.0.113.7:4711"]}, "203.0.113.7"),
        (
            {"X-Forwarded-For": ["198.51.100.1, 203.0.113.7, 10.0.0.9"]},
            "203.0.113.7",
        ),  # the first may be a lie
        ({"X-Forwarded-For": ["10.0.0.8, 10.0.0.9"]}, "10.0.0.8"),
        ({"X-Forwarded-For": ["::ffff:203.0.113.7"]}, "203.0.113.7"),
        ({"X-Forwarded-For": ["[2001:db8::1]:4711"]}, "2001:db8::1"),
        ({"Forwarded": ["for=203.0.113.7;proto=https"]}, "203.0.113.7"),
        ({"Forwarded": ['for="[2001:db8::1]:4711", for=10.0.0.9']}, "2001:db8::1"),
        ({"Forwarded": ['proto=https; For="203.0.113.7"']}, "203.0.113.7"),
        ({"X-Forwarded-For": ["203.0.113.7", "10.0.0.9"]}, "203.0.113.7"),
        ({"X-Forwarded-Proto": ["https"]}, "10.0.0.2"),
        ({}, "10.0.0.2"),
    ],
)
def test_client_is_the_rightmost_address_outside_the_trusted_proxies_else_the_peer(
    headers: dict[str, list[str]], client: str
) -> None:
    assert PROXIES.client("10.0.0.2", headers) == client


@each("peer", ["203.0.113.9", "127.0.0.1", "local"])
@each("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
def test_only_trusted_proxies_may_forward_addresses_loopback_included(peer: str, header: str) -> None:
    with pytest.raises(BadForwarding, match="not among trusted_proxies"):
        PROXIES.client(peer, {header: ["for=203.0.113.7"]})


@each(
    ("header", "value"),
    [
        ("X-Forwarded-For", "somebody"),
        ("X-Forwarded-For", ""),
        ("X-Forwarded-For", ", ".join(["10.0.0.9"] * 40)),
        ("Forwarded", "for=_hidden"),
        ("Forwarded", "proto=https"),
    ],
)
def test_malformed_forwarding_header_is_refused(header: str, value: str) -> None:
    with pytest.raises(BadForwarding):
        PROXIES.client("10.0.0.2", {header: [value]})


def test_disagreeing_forwarding_headers_are_refused() -> None:
    both = {"X-Forwarded-For": ["203.0.113.7"], "Forwarded": ["for=203.0.113.8"]}
    with pytest.raises(BadForwarding, match="different clients"):
        PROXIES.client("10.0.0.2", both)
    assert PROXIES.client("10.0.0.2", both | {"Forwarded": ["for=203.0.113.7"]}) == "203.0.113.7"


@each(
    "host",
    ["localhost", "LOCALHOST:8770", "127.0.0.1", "127.0.0.1:8770", "[::1]:8770", "[::1]", "192.168.1.9:1",
     "hub.example", "Hub.Example.:443"],
)  # fmt: skip
def test_loopback_names_addresses_and_listed_names_are_allowed(host: str) -> None:
    assert host in Hosts(["hub.example"])


@each(
    "host",
    ["", "evil.example", "localhost.evil.example", "hub.example.evil", "127.0.0.1.evil.example",
     "localhost:80@evil.example", "[::1].evil.example", "hub.example:x", "[::1]x80", "[::1]80", "[::1]:",
     "[localhost]", "[localhost]:80", "[127.0.0.1]", "[hub.example]", "hub.example:"],
)  # fmt: skip
def test_unlisted_host_name_is_not_allowed(host: str) -> None:
    assert host not in Hosts(["hub.example"])


@each(
    ("host", "listed", "mend"),
    [("Desk.lan:8770", [], "hub config set 'listen.devices.hosts=[\"desk.lan\"]'"),
     ("desk.lan", ["0.0.0.0"], "hub config set 'listen.devices.hosts=[\"desk.lan\"]'"),
     ("desk.lan", ["hub.example"], "add it to hosts of [listen.devices]: hub config edit"),
     ("a'; reboot #", [], ""), ("$(reboot)", [], ""), ("x" * 9_000, [], ""), ("", [], "")],
)  # fmt: skip
def test_refused_host_name_is_reported_with_the_allowing_command(
    host: str, listed: list[str], mend: str
) -> None:
    refused = Hosts(listed).refusal(host, "devices")
    assert refused == f"this hub is not called {host[:100]!r}" + (
        f": if it leads here, {mend}" if mend else ""
    )
    assert "hub.example" not in refused


@each("peer", ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1"])
def test_if_only_proxies_may_connect_no_other_client_of_the_network_does(peer: str) -> None:
    with pytest.raises(BadForwarding, match="for its machine and its proxies"):
        TrustedProxies(["10.0.0.0/24"], are_only_way=True).client(peer, {})


@each("peer", ["10.0.0.2", "127.0.0.1", "::1", "::ffff:127.0.0.1", "local", ""])
def test_proxies_and_loopback_are_admitted_if_proxies_are_the_only_way(peer: str) -> None:
    assert TrustedProxies(["10.0.0.0/24"], are_only_way=True).client(peer, {}) == peer
