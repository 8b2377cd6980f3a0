"""Heartbeats of devices: which reports are written, when a silent agent is reported, limits of recovery.

For each connected device, the last report of each agent is kept in memory, so an unchanged heartbeat costs
one comparison. Changes of all devices within one turn of the loop are written together. The time of a
device's last heartbeat is kept in memory too. It is written with changes, when the device falls silent or
disconnects, and at least every ``SAVE_MS``.

An agent without a device sends its own heartbeats over HTTP. They take the same way; ``Heartbeats`` itself
notices their silence, which a connection does for a device.

The queue has only the newest heartbeat of each device, because it supersedes older ones. Of a device that
sends heartbeats too often, one per second is processed.

Translation of one agent's part of a heartbeat into this project's words. Pure functions. Unknown words are
ignored and reported by name, so that they can be counted. So a device of a newer release still keeps its
agents online. An exhaustion ends at most 31 days from now (``MAX_RECOVERY_MS``).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.agents.json_objects import NUL
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.base.token_buckets import Buckets
from hub.links.roster import AgentsSilent, DeviceLost, DeviceReady, HeartbeatReceived
from protocol.agent_status import AgentMoved, Availability, Axis, ExhaustReason
from protocol.coordination import AgentBeat, Heartbeat
from protocol.errors import CodedError, ErrorCode
from protocol.frame import HEARTBEAT_INTERVAL_MS, SILENT_AFTER_HEARTBEATS
from protocol.ids import AgentId
from storage.agents import heartbeat_states as agents_heartbeat_states
from storage.agents.heartbeat_states import OWN, AgentProjection, AgentReport, Reports, Sender, Silence
from storage.kernel.database import Conflict, StorageError, UnreadableRow
from storage.store import Store

log = Channel(__name__)

SAVE_MS: Final = 600_000  # maximum age of the stored time of the last heartbeat after a crash
# The same for an agent without a device. After a crash its silence is counted from the stored time.
SAVE_OWN_MS: Final = 30_000
# limit of processed heartbeats per device; normally every 15 s and on changes
BEATS_AT_ONCE, BEATS_PER_S = 30, 1.0
# between two writes of an agent's resource usage, which changes with every heartbeat
USAGE_MS: Final = 60_000
AT_ONCE: Final = 200  # devices per transaction, which blocks other writers for at most 0.1 s
RETRY_S: Final = 1.0  # after a database error
LAST_WORDS_S: Final = 2.0  # for unwritten changes when the hub stops
SILENT_S: Final = SILENT_AFTER_HEARTBEATS * HEARTBEAT_INTERVAL_MS / 1_000
SILENT: Final = f"no heartbeat for {SILENT_S:g} s"

DeviceFact = DeviceReady | DeviceLost | HeartbeatReceived | AgentsSilent
MAX_RECOVERY_MS: Final = 31 * 86_400_000  # no quota lasts longer than a month
WHY_CHARACTERS: Final = 500  # longest stored text of an agent's error
NO_REASON: Final = "its device reports an error"
_ERROR: Final = "ERROR"

# Words of the calendar and the foundation. None: an agent's activity is derived from its runs.
_AVAILABILITY: Final[Mapping[str, Availability | None]] = {
    "idle": Availability.AVAILABLE,
    "on_call": Availability.ON_CALL,
    "exhausted": Availability.EXHAUSTED,
    "busy": None,
    "waiting": None,
    "processing": None,
    "offline": None,
    "error": None,
}
_WORKING: Final = frozenset({"busy", "processing"})  # of an agent without a device, which has no runs


class Doubt(msgspec.Struct, frozen=True):
    """A part of a heartbeat that was ignored, with its kind.

    Kinds are ``unknown_status``, ``unknown_reason``, ``usage_too_large`` and ``usage_unreadable``.
    """

    what: str
    text: str


def read_beat(beat: AgentBeat, at: int, *, usage_bytes: int) -> tuple[AgentReport, tuple[Doubt, ...]]:
    """Return the report in *beat* at the time *at* (epoch ms), and the parts that were ignored.

    An exhaustion whose end has passed is ignored. An end later than ``MAX_RECOVERY_MS`` from now is moved to
    that time.

    Args:
        usage_bytes: limit of the stored resource usage, as JSON.
    """
    doubts: list[Doubt] = []
    status = beat.status.lower()
    if status not in _AVAILABILITY:
        doubts.append(Doubt("unknown_status", beat.status))
    availability = _AVAILABILITY.get(status)
    reason, recovery_at = ExhaustReason.RATE_LIMIT, beat.recovery_at_ms
    if availability is Availability.EXHAUSTED:
        word = (beat.exhaust_reason or reason).lower()
        if word in (ExhaustReason.RATE_LIMIT, ExhaustReason.BILLING):
            reason = ExhaustReason(word)
        else:
            doubts.append(Doubt("unknown_reason", word))
        if recovery_at is not None and recovery_at <= at:
            availability = None
        elif recovery_at is not None:
            recovery_at = min(recovery_at, at + MAX_RECOVERY_MS)
    usage = beat.resource_usage or None
    encoded = b"" if usage is None else msgspec.json.encode(usage)
    if len(encoded) > usage_bytes:
        doubts.append(Doubt("usage_too_large", f"more than {usage_bytes} bytes"))
        usage = None
    elif NUL in encoded:
        doubts.append(Doubt("usage_unreadable", "a null character"))
        usage = None
    report = AgentReport(
        agent_id=AgentId(beat.agent_id),
        is_online=status != "offline",
        availability=availability,
        exhaust_reason=reason,
        recovery_at=recovery_at if availability is Availability.EXHAUSTED else None,
        error=_error(status, (beat.state_detail or "").replace("\0", " ")),
        usage=usage,
    )
    return report, tuple(doubts)


def _error(status: str, detail: str) -> str | None:
    word, _, why = detail.partition(":")
    if word.strip().upper() == _ERROR:
        return why.strip()[:WHY_CHARACTERS] or NO_REASON
    return (detail.strip()[:WHY_CHARACTERS] or NO_REASON) if status == "error" else None


class _Known(msgspec.Struct, eq=False):
    """Last written report of an agent."""

    report: AgentReport | None = None  # without usage
    usage: Mapping[str, object] | None = None
    usage_at: int = 0
    is_settled: bool = False  # False: the agent's row must be read before the next comparison


class _HeartbeatSource:
    """A connection of a device, or an agent that sends its own heartbeats, until its end is written."""

    def __init__(self, sender: Sender, epoch: int, at: int) -> None:
        self.sender = sender
        self.epoch = epoch
        self.agents: dict[AgentId, _Known] = {}
        self.ignored: set[str] = set()  # ids in heartbeats that are not agents of this device
        self.doubted: set[str] = set()  # kinds of doubts that were logged; each is logged once per connection
        self.resets = 0  # number of resets
        self.is_read = False
        self.shares_nothing = False  # because none of its folders is there: its agents stay offline
        self.received_at: int | None = None
        self.saved_at = at
        # Not written yet:
        self.beat: Heartbeat | None = None
        self.is_silent = False
        self.is_lost = False
        self.waiting: list[anyio.Event] = []  # of requests that brought the heartbeat
        # Of an agent that sends its own heartbeats:
        self.silent_at = 0.0  # monotonic seconds

    @property
    def is_agent(self) -> bool:
        """True if an agent sends its own heartbeats."""
        return self.epoch == OWN

    def forget(self) -> None:
        """Read all rows again with the next heartbeat."""
        self.resets += 1
        self.is_read = False
        self.ignored.clear()
        for known in self.agents.values():
            known.is_settled = False

    def needs_rows(self, beat: Heartbeat) -> bool:
        """Return True if the rows of the device's agents must be read before *beat* can be compared."""
        if not self.is_read:
            return True
        for agent in beat.agents:
            known = self.agents.get(AgentId(agent.agent_id))
            if known is None and agent.agent_id not in self.ignored:
                return True
            if known is not None and not known.is_settled:
                return True
        return False


class _Share:
    """A device's part of one transaction.

    Attributes:
        reads_rows: True if the rows of its agents are read.
        is_saved: True if the time of the last heartbeat is written.
        stored: reports that are stored after the transaction, changed or not.
        reports: the changed reports.
    """

    def __init__(self, device: _HeartbeatSource) -> None:
        self.source = device
        self.beat, device.beat = device.beat, None
        self.is_silent = device.is_silent
        self.is_lost = device.is_lost
        self.resets = device.resets
        self.reads_rows = self.beat is not None and device.needs_rows(self.beat)
        self.at = device.received_at or 0
        save_ms = SAVE_OWN_MS if device.is_agent else SAVE_MS
        is_due = self.is_lost or self.is_silent or not 0 <= self.at - device.saved_at < save_ms
        self.is_saved = is_due and device.received_at is not None
        self.waiting, device.waiting = device.waiting, []
        self.stored: list[tuple[_Known, AgentReport]] = []
        self.reports: list[AgentReport] = []

    def give_back(self) -> None:
        """Return the heartbeat to the device after a failed transaction."""
        if self.source.beat is None:
            self.source.beat = self.beat
        self.source.waiting = self.waiting + self.source.waiting

    def written(self) -> None:
        """Update the device's state after the commit."""
        device = self.source
        for known, report in self.stored:
            known.report = _without_usage(report)
            if report.usage is not None:
                known.usage, known.usage_at = report.usage, self.at
            known.is_settled = self.resets == device.resets
        if self.resets == device.resets:
            device.is_read |= self.reads_rows
            device.is_silent = False
        if self.is_saved:
            device.saved_at = self.at
            device.forget()
        for event in self.waiting:
            event.set()


class Heartbeats:
    """Receives heartbeats of devices and writes the changes."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self.loop = LoopReports(clock)
        self.usage_bytes = 4_096  # per agent, as JSON
        self._store = store
        self._clock = clock
        self._outcomes = metrics.agent_heartbeats
        self._limits_reached = metrics.limits_reached
        self._sources: dict[Sender, _HeartbeatSource] = {}
        self._often: Buckets[Sender] = Buckets()
        self._due: dict[tuple[Sender, int], _HeartbeatSource] = {}
        self._own: dict[
            Sender, _HeartbeatSource
        ] = {}  # agents that send heartbeats, the longest silent one first
        self._in_flight = 0  # devices being written
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        """Return the number of connections with unwritten changes."""
        return len(self._due) + self._in_flight

    def last(self, sender: Sender, stored_at: int | None = None) -> int | None:
        """Return the time of a sender's last heartbeat (epoch ms), which is stored from time to time only.

        Args:
            stored_at: time in the row of an agent, ``last_heartbeat_at``.
        """
        device = self._sources.get(sender)
        received_at = None if device is None else device.received_at
        return max((at for at in (received_at, stored_at) if at is not None), default=None)

    def agent_moved(self, move: AgentMoved) -> None:
        """Compare an agent with its row again after its exhaustion has ended."""
        if move.axis is Axis.AVAILABILITY and move.before == Availability.EXHAUSTED:
            self.recheck(AgentId(move.agent_id))

    def recheck(self, agent_id: AgentId) -> None:
        """Compare the agent with its row at its next heartbeat, even if the heartbeat is unchanged."""
        for device in self._sources.values():
            if (known := device.agents.get(agent_id)) is not None:
                device.resets += 1
                known.is_settled = False

    def receive(self, event: DeviceFact) -> None:
        """Queue an event of a device. Never waits: called by a socket's reader."""
        at = now_ms(self._clock)
        device = self._device_of(event, at)
        if device is None or isinstance(event, DeviceReady):
            return
        match event:
            case HeartbeatReceived(frame=frame):
                if self._wait_s(device):
                    device.received_at = at  # the device is alive; a later heartbeat has its state
                    self._doubt(device, Doubt("too_often", f"more than {BEATS_PER_S:g} heartbeats a second"))
                    return
                if device.beat is not None:
                    self._outcomes.labels("overtaken").inc(len(device.beat.agents))
                device.beat, device.received_at, device.is_silent = frame, at, False
                device.shares_nothing = bool(event.link.missing) and not event.link.roots
            case AgentsSilent():
                device.is_silent = True
                device.forget()
            case DeviceLost():
                device.is_lost = True
        self._due[device.sender, device.epoch] = device
        self._arrived.set()

    async def accept(self, agent_id: AgentId, beat: AgentBeat) -> None:
        """Take a heartbeat that an agent without a device sends, and wait until its changes are written.

        Raises:
            CodedError (RATE_LIMITED): the agent exceeds the rate; this one counts as a sign of life only.
        """
        source = self._sources.get(agent_id)
        if source is None:
            source = self._sources[agent_id] = _HeartbeatSource(agent_id, OWN, 0)
        self._expect_next(source, now_ms(self._clock), self._clock.monotonic())
        if wait_s := self._wait_s(source):
            self._outcomes.labels("too_often").inc()
            raise CodedError(
                ErrorCode.RATE_LIMITED,
                f"more than {BEATS_PER_S:g} heartbeats a second; one every 15 s is enough",
                retry_after_s=wait_s,
            )
        source.beat, source.is_silent = Heartbeat(agents=[beat]), False
        written = anyio.Event()
        source.waiting.append(written)
        self._due[source.sender, source.epoch] = source
        self._arrived.set()
        await written.wait()

    def _expect_next(self, source: _HeartbeatSource, at: int, now: float) -> None:
        """Note a heartbeat of an agent at the time *at* (epoch ms), *now* on the monotonic clock."""
        source.received_at, source.silent_at = at, now + SILENT_S
        self._own.pop(source.sender, None)
        self._own[source.sender] = source

    async def _watch_agents(self) -> None:
        """Queue the silence of agents that send their own heartbeats, also from before the start."""
        at, now = now_ms(self._clock), self._clock.monotonic()
        online = await self._store.read(agents_heartbeat_states.online_senders)
        for row in sorted(online, key=lambda one: one.last_heartbeat_at or 0):
            if row.agent_id not in self._sources:
                last = row.last_heartbeat_at or 0
                source = self._sources[row.agent_id] = _HeartbeatSource(row.agent_id, OWN, last)
                self._expect_next(source, last, now - max(0, at - last) / 1_000)
        while True:
            now = self._clock.monotonic()
            while self._own and next(iter(self._own.values())).silent_at <= now:
                source = self._own.pop(next(iter(self._own)))
                source.is_silent = True
                source.forget()
                self._due[source.sender, source.epoch] = source
                self._arrived.set()
            first = next(iter(self._own.values()), None)
            # An agent that begins to send meanwhile is silent later than that.
            await self._clock.sleep(SILENT_S if first is None else first.silent_at - now)

    def _wait_s(self, source: _HeartbeatSource) -> float:
        """Return the seconds until the sender may send another heartbeat, each of which may cause writes."""
        now = self._clock.monotonic()
        return self._often.acquire(source.sender, now, at_once=BEATS_AT_ONCE, per_s=BEATS_PER_S)

    def _device_of(self, event: DeviceFact, at: int) -> _HeartbeatSource | None:
        """Return the connection of *event*, or None if a newer one exists or it was never known."""
        is_lost = isinstance(event, DeviceLost)
        about = event if isinstance(event, DeviceLost) else event.link
        device = self._sources.get(about.device_id)
        if device is None or device.epoch < about.epoch:
            if is_lost:
                return None
            device = self._sources[about.device_id] = _HeartbeatSource(about.device_id, about.epoch, at)
        return device if device.epoch == about.epoch else None

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write changes until cancelled, and the remaining changes at the end."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_agents)
                task_status.started()
                await self._write_news()
        finally:
            for source in self._own.values():
                source.saved_at = 0
                self._due[source.sender, source.epoch] = source
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self._write_all()

    async def _write_news(self) -> None:
        while True:
            self.loop.wait()
            await self._arrived.wait()
            self._arrived = anyio.Event()
            self.loop.work()
            if not await self._write_all():
                await self._clock.sleep(RETRY_S)
                self._arrived.set()

    async def _write_all(self) -> bool:
        """Write all queued changes. Return False if the database is unavailable; they are kept then."""
        due, self._due = list(self._due.values()), {}
        self._in_flight = len(due)
        try:
            while self._in_flight:
                some = due[-self._in_flight :][:AT_ONCE]
                await self._write_or_each(some)
                self._in_flight -= len(some)
            return True
        except StorageError as exc:
            log.warning("heartbeats.unwritten", code=exc.code, devices=self._in_flight)
            return False
        finally:
            left = due[len(due) - self._in_flight :]
            self._due = {(share.sender, share.epoch): share for share in left} | self._due
            self._in_flight = 0

    async def _write_or_each(self, some: Sequence[_HeartbeatSource]) -> None:
        """Write *some* together; if that fails, write each separately.

        Raises:
            StorageError: the database is unavailable; no change is lost.
        """
        try:
            await self._write(some)
        except Exception as exc:  # the loop must survive any error
            if isinstance(exc, StorageError) and not isinstance(exc, Conflict | UnreadableRow):
                raise
            log.error("heartbeats.refused", exc=exc, devices=len(some))
            if len(some) > 1:
                for device in some:
                    await self._write_or_each([device])
            else:
                self._drop(some[0])

    def _drop(self, device: _HeartbeatSource) -> None:
        """Drop a change that cannot be written; the next heartbeat tries again."""
        device.beat = None
        waiting, device.waiting = device.waiting, []
        for event in waiting:
            event.set()
        if device.is_lost and self._sources.get(device.sender) is device:
            del self._sources[device.sender]

    async def _write(self, devices: Sequence[_HeartbeatSource]) -> None:
        """Write the changes of *devices* in one transaction, if there are any."""
        shares = [_Share(device) for device in devices]
        is_written = False
        try:
            device_ids = [share.source.sender for share in shares if share.reads_rows]
            rows = (
                await self._store.read(agents_heartbeat_states.statuses_of, device_ids) if device_ids else {}
            )
            for share in shares:
                if share.beat is not None:
                    self._judge(share, share.beat, rows.get(share.source.sender))
            reported = [
                Reports(share.source.sender, share.source.epoch, share.at, tuple(share.reports))
                for share in shares
                if share.reports
            ]
            now = now_ms(self._clock)
            silent = [
                Silence(share.source.sender, share.source.epoch, now, SILENT, share.at)
                for share in shares
                if share.is_silent
            ]
            last = {share.source.sender: share.at for share in shares if share.is_saved}
            if reported or silent or last:
                await self._store.write(
                    agents_heartbeat_states.record, received=reported, silent=silent, last=last
                )
            is_written = True
        finally:
            for share in shares:
                if is_written:
                    self._written(share)
                else:
                    share.give_back()

    def _judge(self, share: _Share, beat: Heartbeat, rows: Sequence[AgentProjection] | None) -> None:
        """Determine the changes in *beat*.

        Args:
            rows: rows of the device's agents, or None if they were not read.
        """
        device = share.source
        listed = {AgentId(agent.agent_id): agent for agent in beat.agents}
        by_agent = {row.agent_id: row for row in rows or ()}
        if rows is not None:
            device.agents = {agent_id: device.agents.get(agent_id) or _Known() for agent_id in by_agent}
            device.ignored = {agent_id for agent_id in listed if agent_id not in by_agent}
        for agent_id, one in listed.items():
            if (known := device.agents.get(agent_id)) is None:
                self._doubt(device, Doubt("unknown_agent", agent_id))
                continue
            report = self._read(device, one, known, share.at)
            share.stored.append((known, report))
            row = by_agent.get(agent_id)
            if known.is_settled or row is None:
                is_news = known.report != _without_usage(report)
            else:
                is_news = agents_heartbeat_states.is_news(row, report)
            if is_news or report.usage is not None:
                share.reports.append(report)
            self._outcomes.labels("news" if is_news else "unchanged").inc()
        if rows is not None and not device.is_read:
            for agent_id, row in by_agent.items():
                report = AgentReport(agent_id=agent_id, is_listed=False, is_online=not device.shares_nothing)
                if agent_id not in listed and agents_heartbeat_states.requested_moves(row, report):
                    share.reports.append(report)

    def _read(self, device: _HeartbeatSource, beat: AgentBeat, known: _Known, at: int) -> AgentReport:
        """Return the report in *beat*, with usage only if it must be written now."""
        report, doubts = read_beat(beat, at, usage_bytes=self.usage_bytes)
        for doubt in doubts:
            self._doubt(device, doubt, beat.agent_id)
            if doubt.what == "usage_too_large":
                self._limits_reached.labels("resource_usage_bytes").inc()
        if device.shares_nothing:
            report = msgspec.structs.replace(report, is_online=False)
        if device.is_agent:
            report = msgspec.structs.replace(report, turns=int(beat.status.lower() in _WORKING))
        if report.usage == known.usage or (known.usage is not None and 0 <= at - known.usage_at < USAGE_MS):
            return _without_usage(report)
        return report

    def _doubt(self, device: _HeartbeatSource, doubt: Doubt, agent_id: str | None = None) -> None:
        """Count an ignored part of a heartbeat; log each kind once per connection."""
        self._outcomes.labels(doubt.what).inc()
        if doubt.what not in device.doubted:
            device.doubted.add(doubt.what)
            about = {"agent_id": agent_id} if agent_id else {}
            about |= {} if device.is_agent else {"device_id": device.sender}
            log.warning(
                "heartbeat.doubted",
                what=doubt.what,
                told=doubt.text,
                **about,
            )

    def _written(self, share: _Share) -> None:
        share.written()
        device = share.source
        is_over = share.is_lost or (share.is_silent and device.is_agent and device.sender not in self._own)
        if is_over and self._sources.get(device.sender) is device:
            del self._sources[device.sender]


def _without_usage(report: AgentReport) -> AgentReport:
    return report if report.usage is None else msgspec.structs.replace(report, usage=None)
