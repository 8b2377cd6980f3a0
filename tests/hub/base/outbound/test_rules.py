import pytest

from hub.base.outbound.rules import AddressRefused, OutboundRules
from protocol.errors import ErrorCode
from tests.support.families import each

NONE = OutboundRules()


@each(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "2606:2800:220:1:248:1893:25c8:1946",
        "2002:808:808::",
        "64:ff9b::808:808",
        "2606:2800:220:1:0:5efe:808:808",
        "2606:2800:220:1:200:5efe:808:808",
    ],
)
def test_public_addresses_are_called(address: str) -> None:
    assert NONE.judge("example.org", [address]) == [address]


@each(
    ("address", "why"),
    [
        ("10.1.2.3", "in a private network"),
        ("172.16.0.1", "in a private network"),
        ("192.168.1.20", "in a private network"),
        ("100.64.0.1", "in a private network"),
        ("fd12:3456::1", "in a private network"),
        ("fec0::1", "in a private network"),
        ("64:ff9b:1::a00:1", "in a private network"),
        ("198.51.100.7", "set aside"),
        ("192.88.99.1", "set aside"),
        ("0.1.2.3", "set aside"),
        ("2001:db8::1", "set aside"),
        ("3fff::1", "set aside"),
        ("2001::1", "set aside"),
        ("2001:2::1", "set aside"),
        ("5f00::1", "set aside"),
        ("100::1", "set aside"),
        ("4000::1", "set aside"),
        ("169.254.10.10", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "the metadata service of a cloud"),
        ("fd00:ec2::254", "the metadata service of a cloud"),
        ("100.100.100.200", "the metadata service of a cloud"),
        ("168.63.129.16", "the metadata service of a cloud"),
        ("127.0.0.1", "this machine"),
        ("127.8.9.10", "this machine"),
        ("::1", "this machine"),
        ("0.0.0.0", "no address"),
        ("::", "no address"),
        ("224.0.0.1", "a group of machines"),
        ("ff02::1", "a group of machines"),
        ("240.0.0.1", "set aside"),
    ],
)
def test_non_public_addresses_are_refused(address: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=f"{why}.*\\[outbound\\] allow") as caught:
        NONE.judge("example.org", [address])
    assert caught.value.code is ErrorCode.ADDRESS_REFUSED


@each(
    "address",
    [
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "::8.8.8.8",  # as mapped ones were spelled until 2006: no machine answers there
        "::ffff:0:127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b::7f00:1",
        "2002:a00:1::",  # 6to4 of 10.0.0.1
        "2002:7f00:1::1",
        "2606:2800:220:1:0:5efe:a00:1",  # ISATAP of 10.0.0.1
        "2606:2800:220:1:200:5efe:7f00:1",
        "2606:2800:220:1:300:5efe:a9fe:a9fe",
        "2002:808:808:1:0:5efe:a00:1",  # within 6to4 of a public address
        "fe80::5efe:808:808",  # a public one behind a prefix that is not
        "::a00:1",  # compatible, translated (SIIT) and Teredo
        "::808:808",
        "::ffff:0:808:808",
        "2001:0:808:808::f5ff:fffe",
        "64:ff9b:1:808:8:800::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo, whose client is 192.0.2.45
    ],
)
def test_private_address_is_refused_in_every_spelling(address: str) -> None:
    with pytest.raises(AddressRefused):
        NONE.judge("example.org", [address])


def test_only_allowed_addresses_of_a_host_are_called() -> None:
    assert NONE.judge("example.org", ["10.0.0.1", "8.8.8.8", "::1"]) == ["8.8.8.8"]


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(AddressRefused, match="it has no address"):
        NONE.judge("example.org", [])


@each("host", ["localhost", "LocalHost.", "127.0.0.1", "127.0.0.9", "::1", "[::1]"])
def test_localhost_names_may_only_resolve_to_loopback_addresses(host: str) -> None:
    assert NONE.judge(host, ["127.0.0.1", "::1"]) == ["127.0.0.1", "::1"]
    with pytest.raises(AddressRefused, match="not this machine"):
        NONE.judge(host, ["8.8.8.8"])
    NONE.judge_url("http", host)


def test_listed_addresses_may_be_called() -> None:
    rules = OutboundRules.parse(["10.0.0.0/8", "192.168.1.5", "model.lan", "fd00::/8"])
    assert rules.judge("anything.example", ["10.9.9.9"]) == ["10.9.9.9"]
    assert rules.judge("anything.example", ["::ffff:10.9.9.9"]) == ["::ffff:10.9.9.9"]
    assert rules.judge("192.168.1.5", ["192.168.1.5"]) == ["192.168.1.5"]
    assert rules.judge("fd00::1", ["fd00::1"]) == ["fd00::1"]
    assert rules.judge("Model.LAN.", ["172.20.0.3"]) == ["172.20.0.3"]
    for host, address in (("other.lan", "172.20.0.3"), ("192.168.1.6", "192.168.1.6")):
        with pytest.raises(AddressRefused):
            rules.judge(host, [address])


@each("entry", ["", "10.0.0.1/8", "http://model.lan", "model.lan:80", "300.1.1.1", "-x", "*"])
def test_invalid_host_address_or_network_cannot_be_listed(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host, address or network"):
        OutboundRules.parse([entry])


def test_remote_hosts_require_https_unless_insecure_is_set() -> None:
    NONE.judge_url("https", "example.org")
    NONE.judge_url("http", "model.lan", insecure=True)
    for scheme, host in (("http", "example.org"), ("http", "localhost.example.org"), ("ftp", "localhost")):
        with pytest.raises(AddressRefused, match="https"):
            NONE.judge_url(scheme, host)
