"""``[cluster]``: the bus between several hubs, and the name of this node."""

from pathlib import Path

import pytest

from hub.settings.reading import check_settings, load_settings
from hub.settings.settings import Settings

DATABASE = '[storage]\nurl = "postgresql://hub@db/hub"\n'


def problems(file: Path, line: str, *, database: str = DATABASE, **environ: str) -> list[str]:
    """Return the problems of a ``[cluster]`` with this line."""
    file.write_text(f"{database}[cluster]\n{line}\n")
    return [str(one) for one in check_settings(file, environ=environ, serving=True).problems]


def test_a_hub_has_no_bus_by_default() -> None:
    assert Settings().cluster.resolved({}) == ""


@pytest.mark.parametrize("url", ["nats://10.0.0.5:4222", "tls://bus.example", "nats://[::1]:4222"])
def test_the_address_of_a_bus_stands_in_the_file(file: Path, url: str) -> None:
    assert problems(file, f'bus = "{url}"\nnode = "east"') == []
    assert load_settings(file).cluster.resolved({}) == url


@pytest.mark.parametrize(
    "url", ["10.0.0.5:4222", "http://bus", "nats://", "nats://bus:port", "nats://bus/x?y=z"]
)
def test_what_is_not_an_address_of_nats_is_refused(file: Path, url: str) -> None:
    (problem,) = problems(file, f'bus = "{url}"')
    assert "not the address of a NATS server" in problem
    (problem,) = problems(file, 'bus = { env = "BUS" }', BUS=url)
    assert "the environment variable BUS: not the address of a NATS server" in problem


@pytest.mark.parametrize("url", ["wss://a.example:8770", "ws://10.0.0.5:8770/", "wss://[::1]"])
def test_devices_reach_a_node_at_its_address(file: Path, url: str) -> None:
    assert (problems(file, f'address = "{url}"'), load_settings(file).cluster.address) == ([], url)


@pytest.mark.parametrize(
    "url", ["a.example:8770", "https://a.example", "wss://", "wss://a:port", "wss://a/hub", "wss://me@a"]
)
def test_what_devices_could_not_dial_is_no_address_of_a_node(file: Path, url: str) -> None:
    (problem, *_) = problems(file, f'address = "{url}"')
    assert "not the address of a hub" in problem


def test_an_address_with_a_password_is_a_reference(file: Path) -> None:
    url = "nats://hub:correct-horse@bus:4222"
    found = problems(file, f'bus = "{url}"')
    assert found and all("secret" in one and "correct-horse" not in one for one in found)
    assert problems(file, 'bus = { env = "BUS" }', BUS=url) == []
    assert load_settings(file, environ={"BUS": url}).cluster.resolved({"BUS": url}) == url


def test_a_bus_without_a_database_that_others_can_use_is_warned_of(file: Path) -> None:
    (problem,) = problems(file, 'bus = "nats://bus:4222"', database="")
    assert "no other hub can use this hub's database" in problem
