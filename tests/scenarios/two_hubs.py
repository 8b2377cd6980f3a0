"""Two hubs on one PostgreSQL, each with a device of its own: what scenarios with several nodes play in."""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import rows
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.postgres import Postgres
from tests.support.processes import POLL_S, START_TIMEOUT_S
from tests.support.programs import free_port

SIDES = ("east", "west")
TTL_S = 3.0  # of the scheduler's lease and of runs', a tenth of what it is
_SHORT_LEASES = (
    *("--given", f"hub.runs.leadership:TTL_S={TTL_S}"),
    *("--given", "hub.runs.leadership:RENEW_S=1.0"),
    *("--given", f"hub.runs.dispatcher:LEASE_MS={TTL_S * 1000:.0f}"),
    *("--given", f"hub.runs.leases:LeaseKeeper.lease_ms={TTL_S * 1000:.0f}"),
    *("--given", "hub.runs.leases:LeaseKeeper.every_s=1.0"),
    *("--given", "storage.kernel.postgres:IDLE_MS=1500"),  # what a hub holds that is frozen in a transaction
    *("--given", "hub.runs.attempt_ending:RETRY_BASE_S=0.5"),
)

_HUB = """\
[storage]
url = "{url}"
[cluster]
{cluster}
[listen.devices]
address = "127.0.0.1:{port}"
[listen.operator]
address = "127.0.0.1:0"
[limits]
connected_s = 0.1
"""
_AGENT = """\
[[agents]]
name = "{side}"
device = "{side}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
{more}
"""


class Side:
    """One hub, and the device that is connected to it."""

    def __init__(self, name: str, hub: FaultyHub, device: RunningDevice) -> None:
        self.name = name
        self.hub = hub
        self.device = device

    async def has_frozen(self, *, within_s: float = 30.0) -> None:
        """Until its process is stopped, by whomever."""
        with anyio.fail_after(within_s):
            while _state_of(self.hub.pid) != "T":
                await anyio.sleep(POLL_S)

    def thaw(self) -> None:
        """SIGCONT: the hub goes on as if no time had passed."""
        os.kill(self.hub.pid, signal.SIGCONT)

    def items(self) -> list[str]:
        """Titles of the tasks that its device has."""
        return [title for (title,) in rows(self.device.db, TITLES)]


def _state_of(pid: int) -> str:
    """One letter: R and S for those that live, T for who was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class TwoHubs:
    """Both of them, and the database that they share."""

    def __init__(self, east: Side, west: Side, postgres: Postgres, url: str) -> None:
        self.east = east
        self.west = west
        self._postgres = postgres
        self._url = url

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the shared database."""
        return [tuple(row.values()) for row in self._postgres.sql(query, url=self._url)]

    async def until(self, query: str, *, within_s: float = START_TIMEOUT_S) -> None:
        """Until *query* finds something."""
        with anyio.move_on_after(within_s):
            while not self.sql(query):
                await anyio.sleep(POLL_S)
            return
        logs = "\n".join(side.hub.log()[-4000:] for side in (self.east, self.west))
        raise AssertionError(f"never came true: {query}\n{logs}")


@asynccontextmanager
async def two_hubs(
    folder: Path,
    postgres: Postgres,
    *,
    east: Sequence[str] = (),
    west: Sequence[str] = (),
    schedule: str = "",
    pgbouncer: str | None = None,
    roams: bool = False,
    names_addresses: bool = False,
    grants: Sequence[str] = (),
) -> AsyncIterator[TwoHubs]:
    """Both hubs live, the one in the east leads, and each device is connected to its own hub.

    Args:
        east, west: what goes wrong with the hub there, beside that leases are short.
        schedule: a line of both agents in hub.toml.
        roams: each device has the addresses of both hubs.
        grants: what the devices' owners grant to the hubs.
        names_addresses: the hubs tell the devices of each other, as their hub.toml names their addresses.
        pgbouncer: start of the addresses of a PgBouncer, through which the hubs reach the database.
    """
    async with AsyncExitStack() as opened:
        url = opened.enter_context(postgres.database())
        agents = "".join(_AGENT.format(side=side, more=schedule) for side in SIDES)
        hubs = {}
        for side, faults in zip(SIDES, (east, west), strict=True):
            state = folder / side
            state.mkdir()
            name = url.rpartition("/")[2]
            theirs = url if pgbouncer is None else f"{pgbouncer}/{name}?pgbouncer=true"
            port = free_port() if names_addresses else 0
            cluster = f'address = "ws://127.0.0.1:{port}"' if names_addresses else ""
            hub = FaultyHub(state, settings=_HUB.format(url=theirs, cluster=cluster, port=port) + agents)
            hub.faults = (*_SHORT_LEASES, *faults)
            opened.push_async_callback(hub.close)
            await hub.start()
            hubs[side] = hub
        sides = {}
        addresses = {side: await hub.device_url() for side, hub in hubs.items()}
        for side, hub in hubs.items():
            more = [address for other, address in addresses.items() if other != side] if roams else []
            device = open_device(
                addresses[side], folder / side, await hub.token(side), more=more, grants=grants
            )
            sides[side] = Side(side, hub, await opened.enter_async_context(device))
        yield TwoHubs(sides["east"], sides["west"], postgres, url)
