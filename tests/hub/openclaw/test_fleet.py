"""The gateways of hub.toml, all at once: a reload touches what it changes, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.openclaw import BadGatewayUrl, Fleet, Gateway, GatewayConfig, GatewayEvent, GatewayNews
from storage.coordination.gateways import UnknownGateway
from tests.support.clock import FakeClock, SeededChance
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import on_loopback
from tests.support.wire import until


def config(gateway: FakeGateway, **more: Any) -> GatewayConfig:
    return GatewayConfig(**{"name": gateway.name, "url": gateway.url, "token": gateway.token} | more)


@asynccontextmanager
async def fleet_in(folder: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(
        folder=folder,
        rules=OutboundRules,
        clock=FakeClock(),
        chance=SeededChance(),
        metrics=Metrics(),
        version="0.1.0",
        resolve=on_loopback,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(fleet.serve)
        yield fleet
        tasks.cancel_scope.cancel()


def states(fleet: Fleet) -> dict[str, str]:
    return {health.name: health.state for health in fleet.health()}


async def test_unreachable_gateway_does_not_delay_calls_to_other_gateways(tmp_path: Path) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        fleet_in(tmp_path) as fleet,
    ):
        await east.stop(killed=True)
        fleet.apply([config(west), config(east)])
        assert await fleet.get("west").call("health") == {"ok": True}
        await until(lambda: states(fleet) == {"west": "ready", "east": "waiting"})
        assert ([gateway.name for gateway in fleet.list()], fleet.find("north")) == (["east", "west"], None)
        with pytest.raises(UnknownGateway, match="north"):
            fleet.get("north")


async def test_fleet_reload_keeps_unchanged_gateway_clients(tmp_path: Path) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        fleet_in(tmp_path) as fleet,
    ):
        fleet.apply([config(west), config(east)])
        await until(lambda: states(fleet) == {"west": "ready", "east": "ready"})
        kept, changed = fleet.get("west"), fleet.get("east")
        east.token = "another-one"
        fleet.apply([config(west), config(east)])
        await until(lambda: len(east.connects) == 2 and states(fleet)["east"] == "ready")
        assert fleet.get("west") is kept
        assert fleet.get("east") is not changed
        assert (len(west.connects), east.connects[1]["auth"]) == (1, {"token": "another-one"})


async def test_fleet_reload_with_an_invalid_address_changes_no_gateway(tmp_path: Path) -> None:
    async with fake_gateway("west") as west, fleet_in(tmp_path) as fleet:
        fleet.apply([config(west)])
        await until(lambda: states(fleet) == {"west": "ready"})
        with pytest.raises(BadGatewayUrl):
            fleet.apply([config(west, token="other"), GatewayConfig(name="east", url="http://x")])
        assert states(fleet) == {"west": "ready"}


async def test_fleet_listener_hears_events_of_all_gateways_including_later_ones(tmp_path: Path) -> None:
    heard: list[GatewayNews] = []
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        fleet_in(tmp_path) as fleet,
    ):
        end = fleet.listen(heard.append)
        fleet.apply([config(west)])
        fleet.apply([config(west), config(east)])
        await until(lambda: set(states(fleet).values()) == {"ready"})
        west.emit("agent", 1)
        east.emit("agent", 2)
        await until(lambda: sum(isinstance(news, GatewayEvent) for news in heard) == 2)
        assert {news.gateway for news in heard} == {"west", "east"}
        end()
        west.emit("agent", 3)
        await fleet.get("west").call("health")
        assert sum(isinstance(news, GatewayEvent) for news in heard) == 2


async def test_fault_in_a_gateway_client_does_not_affect_the_other_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Gateway.serve

    async def breaks_once(client: Gateway, **options: Any) -> None:
        if client.name == "east" and not broken:
            broken.append(client.name)
            raise RuntimeError("a fault of ours")
        await served(client, **options)

    broken: list[str] = []
    monkeypatch.setattr(Gateway, "serve", breaks_once)
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        fleet_in(tmp_path) as fleet,
    ):
        fleet.apply([config(west), config(east)])
        await until(lambda: states(fleet)["west"] == "ready")
        assert broken == ["east"]
        clock = fleet._clock
        assert isinstance(clock, FakeClock)
        clock.advance(3)
        await until(lambda: states(fleet)["east"] == "ready")
