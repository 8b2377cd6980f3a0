"""Laws about several hubs on one database: one owner of a device, one claim of a run, no ghosts."""

from collections.abc import Iterable
from typing import Any, Final

from hub.runs.leases import LEASE_MS
from protocol.ids import DeviceId
from tests.simulation.device import SimDevice
from tests.simulation.hub import SimHub
from tests.simulation.laws import Law
from tests.simulation.store import Commit

LEASE_S: Final = LEASE_MS / 1_000
SLACK_S: Final = 6.0  # polls of a hub, a slow database, and the interval of the checks
ONLINE: Final = """
    SELECT devices.id, devices.boot_id, devices.session_epoch FROM devices
    WHERE EXISTS (
        SELECT 1 FROM leases WHERE holder_boot_id = devices.boot_id AND name LIKE 'node %'
        AND expires_at > hub_now_ms())"""


class OneClaim(Law):
    """A run is claimed by one hub at a time: from the queue, under a fence that no other hub gets."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._claims: dict[tuple[str, int], str | None] = {}

    def after(self, commit: Commit) -> None:
        for before, run in self.facts.changes:
            if before is None or run is None or not run.is_executing:
                continue
            is_same = (before.lease_boot_id, before.fence) == (run.lease_boot_id, run.fence)
            if before.is_executing and is_same:
                continue
            if before.state != "QUEUED" or run.fence != before.fence + 1:
                self.findings.add(
                    "one claim",
                    f"{commit.by} claims run {run.id} under fence {run.fence}, which was {before.state} under"
                    f" {before.fence} of {before.lease_boot_id}",
                )
            holder = self._claims.setdefault((run.id, run.fence), run.lease_boot_id)
            if holder != run.lease_boot_id:
                self.findings.add(
                    "one claim",
                    f"run {run.id} is claimed by {run.lease_boot_id} under fence {run.fence} of {holder}",
                )


class _Lasting:
    """Conditions with the second since which each has lasted."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}

    def last(self, conditions: Iterable[Any], now_s: float) -> dict[Any, float]:
        """Return how long each of *conditions* has lasted; the others are forgotten."""
        self._since = {one: self._since.get(one, now_s) for one in conditions}
        return {one: now_s - since for one, since in self._since.items()}


class OneOwner(Law):
    """A device is connected to one hub, and the rows say to which: of all hubs that reach the database.

    It is not sent away as if two machines had its key: it would not come back. A hub that was halted or cut
    off gets the time of a lease, as do the rows that a dead hub has left.
    """

    def __init__(self, *given: Any, devices: list[SimDevice]) -> None:
        super().__init__(*given)
        self._devices = devices
        self._sent_away: dict[str, int] = {}
        self._able, self._shared, self._ghosts, self._apart = _Lasting(), _Lasting(), _Lasting(), _Lasting()

    def look(self) -> None:
        now = self.around.time.awake_s
        hubs = [machine.hub for machine in self.around.machines if machine.hub is not None]
        able_s = self._able.last([hub.boot_id for hub in hubs if hub.is_able], now)
        steady = [hub for hub in hubs if able_s.get(hub.boot_id, 0.0) > SLACK_S]
        self._one_owner(steady, now)
        for device in self._devices:
            if device.sent_away > self._sent_away.setdefault(device.id, 0):
                self.findings.add("one owner", f"{device.id} was sent away by a hub, as if it were a copy")
            self._sent_away[device.id] = device.sent_away
        rows = {id: (boot_id, epoch) for id, boot_id, epoch in self.facts.disk.rows(ONLINE)}
        self._no_ghosts(hubs, rows if steady else {}, now)  # a hub that serves removes them
        self._rows_agree(steady, rows, now)

    def _one_owner(self, hubs: list[SimHub], now: float) -> None:
        owners = {device.id: _owners(device.id, hubs) for device in self._devices}
        shared_s = self._shared.last([id for id, hubs in owners.items() if len(hubs) > 1], now)
        for id, seconds in shared_s.items():
            if seconds > LEASE_S + SLACK_S:
                names = " and ".join(hub.process.name for hub in owners[id])
                self.findings.add_once(
                    "one owner", id, f"{id} has been connected to {names} for {seconds:.1f} s"
                )

    def _no_ghosts(self, hubs: list[SimHub], rows: dict[str, tuple[str, int]], now: float) -> None:
        """Check that a device that is online by its row is connected to that hub."""
        by_boot = {hub.boot_id: hub for hub in hubs}
        ghosts = []
        for id, (boot_id, epoch) in rows.items():
            hub = by_boot.get(boot_id)  # type: ignore[call-overload]
            if hub is None or (hub.is_able and not _owners(id, [hub])):
                ghosts.append((id, boot_id, epoch))
        for ghost, seconds in self._ghosts.last(ghosts, now).items():
            if seconds > LEASE_S + SLACK_S:
                id, boot_id, _ = ghost
                self.findings.add_once(
                    "ghost", id, f"{id} has been online at {boot_id} for {seconds:.1f} s, which has it not"
                )

    def _rows_agree(self, hubs: list[SimHub], rows: dict[str, tuple[str, int]], now: float) -> None:
        """Check that the row of a device that is connected to one hub says so."""
        apart = []
        for device in self._devices:
            owners = _owners(device.id, hubs)
            if len(owners) == 1:
                link = owners[0].roster.find(device.id)
                if link is not None and rows.get(device.id) != (owners[0].boot_id, link.epoch):
                    apart.append((device.id, owners[0].boot_id, link.epoch))
        for (id, boot_id, epoch), seconds in self._apart.last(apart, now).items():
            if seconds > LEASE_S + SLACK_S:
                self.findings.add_once(
                    "same answer",
                    id,
                    f"{id} has been connected to {boot_id} under {epoch} for {seconds:.1f} s, its row says"
                    f" {rows.get(id)}",
                )


def _owners(id: str, hubs: Iterable[SimHub]) -> list[SimHub]:
    return [hub for hub in hubs if hub.was_serving and hub.roster.find(DeviceId(id)) is not None]


class SameAnswer(Law):
    """When all is quiet, each hub executes the runs that the rows say it executes."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._apart = _Lasting()

    def look(self) -> None:
        apart = []
        for hub in [machine.live for machine in self.around.machines]:
            if hub is None or not hub.is_able:
                continue
            executing = [run for run in self.facts.live.values() if run.is_executing]
            by_rows = sum(run.lease_boot_id == hub.boot_id for run in executing)
            if by_rows != hub.dispatcher.executing:
                apart.append((hub.process.name, by_rows, hub.dispatcher.executing))
        now = self.around.time.awake_s
        for (name, by_rows, count), seconds in self._apart.last(apart, now).items():
            if min(seconds, now - self.around.calm_since_s) > LEASE_S + SLACK_S:
                self.findings.add_once(
                    "same answer", name, f"{name} executes {count} runs, {by_rows} by their rows"
                )
