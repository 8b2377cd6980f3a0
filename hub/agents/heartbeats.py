"""What devices say of their agents, all the time: only what is news is written.

A device that is connected is remembered with what it said of each agent; a heartbeat that
says the same again costs a comparison. What differs is written, for all devices together
that spoke in one turn of the loop. When a device was heard last is kept here and written
with news, when it falls silent, when it leaves, and every ``SAVE_MS`` at least.

The queue holds one heartbeat of a device, its newest: an older one that was not looked at
yet has nothing left to say. Of a device that beats all the time one in a second is looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.agents.beats import Doubt, read_beat
from hub.clock import Clock, epoch_ms
from hub.links.bucket import Buckets
from hub.links.roster import AgentsSilent, DeviceLost, DeviceReady, HeartbeatReceived
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.coordination import AgentBeat, Heartbeat
from protocol.frame import HEARTBEAT_INTERVAL_MS, SILENT_AFTER_HEARTBEATS
from protocol.ids import AgentId, DeviceId
from protocol.standing import AgentMoved, Availability, Axis
from storage.agents import heartbeats
from storage.agents.heartbeats import AgentReport, HeardDevice, SilentDevice, Stands
from storage.kernel.database import Conflict, StorageError
from storage.store import Store

log = Channel(__name__)

SAVE_MS: Final = 600_000  # what a hub that is killed forgets of when a device was heard last
BEATS_AT_ONCE, BEATS_PER_S = 30, 1.0  # of one device that are looked at; it beats every 15 s, and with news
USAGE_MS: Final = 60_000  # between two writes of one agent's resource usage: it changes with every beat
USAGE_BYTES: Final = 4_096  # of one agent, as JSON
AT_ONCE: Final = 200  # devices in one transaction: other writers wait for a tenth of a second at most
RETRY_S: Final = 1.0  # after a fault of the database
LAST_WORDS_S: Final = 2.0  # for what is left when the hub stops
SILENT: Final = f"no heartbeat for {SILENT_AFTER_HEARTBEATS * HEARTBEAT_INTERVAL_MS / 1000:g} s"

DeviceFact = DeviceReady | DeviceLost | HeartbeatReceived | AgentsSilent


class _Known:
    """What was said of an agent, and is written."""

    __slots__ = ("is_settled", "said", "usage", "usage_at")

    def __init__(self) -> None:
        self.said: AgentReport | None = None  # without its usage
        self.usage: Mapping[str, object] | None = None
        self.usage_at = 0
        self.is_settled = False  # false: how the agent stands has to be looked at


class _Device:
    """One connection of a device, from its welcome until its end is written."""

    def __init__(self, device_id: DeviceId, epoch: int, at: int) -> None:
        self.device_id = device_id
        self.epoch = epoch
        self.agents: dict[AgentId, _Known] = {}
        self.ignored: set[str] = set()  # ids that are no agents of this device
        self.doubted: set[str] = set()  # of what the log was told, once a connection
        self.looks = 0  # how often everything had to be looked at anew
        self.is_looked_at = False
        self.heard_at: int | None = None
        self.saved_at = at
        # What is not written yet.
        self.beat: Heartbeat | None = None
        self.is_silent = False
        self.is_lost = False

    def forget(self) -> None:
        """Look at everything anew with the next beat."""
        self.looks += 1
        self.is_looked_at = False
        self.ignored.clear()
        for known in self.agents.values():
            known.is_settled = False

    def needs_look(self, beat: Heartbeat) -> bool:
        """Whether the rows of its agents have to be looked at before *beat* can be judged."""
        if not self.is_looked_at:
            return True
        for one in beat.agents:
            known = self.agents.get(AgentId(one.agent_id))
            if known is None and one.agent_id not in self.ignored:
                return True
            if known is not None and not known.is_settled:
                return True
        return False


class _Share:
    """What one device has for one transaction.

    Attributes:
        is_look: the rows of its agents are looked at.
        is_saved: it is written when the device was heard.
        said: what is written, or is as it was, by the end of the transaction.
        reports: what of it is news.
    """

    def __init__(self, device: _Device) -> None:
        self.device = device
        self.beat, device.beat = device.beat, None
        self.is_silent = device.is_silent
        self.is_lost = device.is_lost
        self.looks = device.looks
        self.is_look = self.beat is not None and device.needs_look(self.beat)
        self.at = device.heard_at or 0
        is_due = self.is_lost or self.is_silent or self.at - device.saved_at >= SAVE_MS
        self.is_saved = is_due and device.heard_at is not None
        self.said: list[tuple[_Known, AgentReport]] = []
        self.reports: list[AgentReport] = []

    def give_back(self) -> None:
        """It was not written."""
        if self.device.beat is None:
            self.device.beat = self.beat

    def written(self) -> None:
        """It is on the disk."""
        device = self.device
        for known, report in self.said:
            known.said = _without_usage(report)
            if report.usage is not None:
                known.usage, known.usage_at = report.usage, self.at
            known.is_settled = self.looks == device.looks
        if self.looks == device.looks:
            device.is_looked_at |= self.is_look
            device.is_silent = False
        if self.is_saved:
            device.saved_at = self.at
            device.forget()


class Heartbeats:
    """Hears what devices say of their agents, and writes what is news."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self.turns = Turns(clock)
        self.usage_bytes = USAGE_BYTES
        self._store = store
        self._clock = clock
        self._outcomes = metrics.agent_heartbeats
        self._limits_reached = metrics.limits_reached
        self._devices: dict[DeviceId, _Device] = {}
        self._often: Buckets[DeviceId] = Buckets()
        self._due: dict[tuple[DeviceId, int], _Device] = {}
        self._in_hand = 0  # of them, those that are being written
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        """How many connections have something that is not written yet."""
        return len(self._due) + self._in_hand

    def last(self, device_id: DeviceId | None) -> int | None:
        """When the device was heard last, epoch ms, if it is connected here and ever beat.

        It is newer than what the rows of its agents say (``last_heartbeat_at``).
        """
        device = None if device_id is None else self._devices.get(device_id)
        return None if device is None else device.heard_at

    def agent_moved(self, move: AgentMoved) -> None:
        """An agent that is exhausted no more: what its device says of it is news again, if it is."""
        if move.axis is Axis.AVAILABILITY and move.before == Availability.EXHAUSTED:
            self.look_again(AgentId(move.agent_id))

    def look_again(self, agent_id: AgentId) -> None:
        """What the device says of the agent may be news with its next heartbeat, though it says the same."""
        for device in self._devices.values():
            if (known := device.agents.get(agent_id)) is not None:
                device.looks += 1
                known.is_settled = False

    def take(self, event: DeviceFact) -> None:
        """Remember what happened; it is written soon. Never waits: called by a socket's reader."""
        at = epoch_ms(self._clock.now())
        device = self._device_of(event, at)
        if device is None or isinstance(event, DeviceReady):
            return
        match event:
            case HeartbeatReceived(frame=frame):
                if self._is_too_often(device):
                    device.heard_at = at  # it is there; what it says is looked at with a later one
                    self._doubt(device, Doubt("too_often", f"more than {BEATS_PER_S:g} heartbeats a second"))
                    return
                if device.beat is not None:
                    self._outcomes.labels("overtaken").inc(len(device.beat.agents))
                device.beat, device.heard_at, device.is_silent = frame, at, False
            case AgentsSilent():
                device.is_silent = True
                device.forget()
            case DeviceLost():
                device.is_lost = True
        self._due[device.device_id, device.epoch] = device
        self._arrived.set()

    def _is_too_often(self, device: _Device) -> bool:
        """Whether more comes from the device than is looked at: every one may be a write for each agent."""
        now = self._clock.monotonic()
        wait_s = self._often.take(device.device_id, now, at_once=BEATS_AT_ONCE, per_s=BEATS_PER_S)
        return wait_s > 0

    def _device_of(self, event: DeviceFact, at: int) -> _Device | None:
        """The connection that *event* is about; none where a newer one of its device is known, or none is."""
        is_lost = isinstance(event, DeviceLost)
        about = event if isinstance(event, DeviceLost) else event.link
        device = self._devices.get(about.device_id)
        if device is None or device.epoch < about.epoch:
            if is_lost:
                return None
            device = self._devices[about.device_id] = _Device(about.device_id, about.epoch, at)
        return device if device.epoch == about.epoch else None

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write news until cancelled, and then what is left of them."""
        task_status.started()
        try:
            while True:
                self.turns.wait()
                await self._arrived.wait()
                self._arrived = anyio.Event()
                self.turns.work()
                if not await self._write_all():
                    await self._clock.sleep(RETRY_S)
                    self._arrived.set()
        finally:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self._write_all()

    async def _write_all(self) -> bool:
        """Write what there is; false when the database is away, and what is left is kept."""
        due, self._due = list(self._due.values()), {}
        self._in_hand = len(due)
        try:
            while self._in_hand:
                some = due[-self._in_hand :][:AT_ONCE]
                await self._write_or_each(some)
                self._in_hand -= len(some)
            return True
        except StorageError as exc:
            log.warning("heartbeats.unwritten", code=exc.code, devices=self._in_hand)
            return False
        finally:
            left = due[len(due) - self._in_hand :]
            self._due = {(one.device_id, one.epoch): one for one in left} | self._due
            self._in_hand = 0

    async def _write_or_each(self, some: Sequence[_Device]) -> None:
        """Write *some* together, and where one of them cannot be written, the others without it.

        Raises:
            StorageError: the database is away; nothing is lost.
        """
        try:
            await self._write(some)
        except Exception as exc:  # the loop that must survive
            if isinstance(exc, StorageError) and not isinstance(exc, Conflict):
                raise
            log.error("heartbeats.refused", exc=exc, devices=len(some))
            if len(some) > 1:
                for device in some:
                    await self._write_or_each([device])
            else:
                self._drop(some[0])

    def _drop(self, device: _Device) -> None:
        """What it has cannot be written; its next heartbeat tries again."""
        device.beat = None
        if device.is_lost and self._devices.get(device.device_id) is device:
            del self._devices[device.device_id]

    async def _write(self, devices: Sequence[_Device]) -> None:
        """What these devices have, in one transaction; none where there is nothing new."""
        shares = [_Share(device) for device in devices]
        is_written = False
        try:
            looks = [share.device.device_id for share in shares if share.is_look]
            rows = await self._store.read(heartbeats.standing_at, looks) if looks else {}
            for share in shares:
                if share.beat is not None:
                    self._judge(share, share.beat, rows.get(share.device.device_id))
            heard = [
                HeardDevice(share.device.device_id, share.device.epoch, share.at, tuple(share.reports))
                for share in shares
                if share.reports
            ]
            now = epoch_ms(self._clock.now())
            silent = [
                SilentDevice(share.device.device_id, share.device.epoch, now, SILENT)
                for share in shares
                if share.is_silent
            ]
            last = {share.device.device_id: share.at for share in shares if share.is_saved}
            if heard or silent or last:
                await self._store.write(heartbeats.record, heard=heard, silent=silent, last=last)
            is_written = True
        finally:
            for share in shares:
                if is_written:
                    self._written(share)
                else:
                    share.give_back()

    def _judge(self, share: _Share, beat: Heartbeat, rows: Sequence[Stands] | None) -> None:
        """Find what of *beat* is news. *rows*: how the device's agents stand, if that was looked at."""
        device = share.device
        listed = {AgentId(one.agent_id): one for one in beat.agents}
        stands = {row.agent_id: row for row in rows or ()}
        if rows is not None:
            device.agents = {agent_id: device.agents.get(agent_id) or _Known() for agent_id in stands}
            device.ignored = {agent_id for agent_id in listed if agent_id not in stands}
        for agent_id, one in listed.items():
            if (known := device.agents.get(agent_id)) is None:
                self._doubt(device, Doubt("unknown_agent", agent_id))
                continue
            report = self._read(device, one, known, share.at)
            share.said.append((known, report))
            row = stands.get(agent_id)
            if known.is_settled or row is None:
                is_news = known.said != _without_usage(report)
            else:
                is_news = bool(heartbeats.wishes(row, report))
            if is_news or report.usage is not None:
                share.reports.append(report)
            self._outcomes.labels("news" if is_news else "unchanged").inc()
        if rows is not None and not device.is_looked_at:
            for agent_id, row in stands.items():
                report = AgentReport(agent_id=agent_id, is_listed=False)
                if agent_id not in listed and heartbeats.wishes(row, report):
                    share.reports.append(report)

    def _read(self, device: _Device, beat: AgentBeat, known: _Known, at: int) -> AgentReport:
        """What *beat* says; its usage only where that is to be written now."""
        report, doubts = read_beat(beat, at, usage_bytes=self.usage_bytes)
        for doubt in doubts:
            self._doubt(device, doubt, beat.agent_id)
            if doubt.what == "usage_too_large":
                self._limits_reached.labels("resource_usage_bytes").inc()
        if report.usage == known.usage or (known.usage is not None and at - known.usage_at < USAGE_MS):
            return _without_usage(report)
        return report

    def _doubt(self, device: _Device, doubt: Doubt, agent_id: str | None = None) -> None:
        """Count what is left out of a heartbeat; the log hears of each kind once a connection."""
        self._outcomes.labels(doubt.what).inc()
        if doubt.what not in device.doubted:
            device.doubted.add(doubt.what)
            about = {"agent_id": agent_id} if agent_id else {}
            log.warning(
                "heartbeat.doubted", device_id=device.device_id, what=doubt.what, told=doubt.told, **about
            )

    def _written(self, share: _Share) -> None:
        share.written()
        device = share.device
        if share.is_lost and self._devices.get(device.device_id) is device:
            del self._devices[device.device_id]


def _without_usage(report: AgentReport) -> AgentReport:
    return report if report.usage is None else msgspec.structs.replace(report, usage=None)
