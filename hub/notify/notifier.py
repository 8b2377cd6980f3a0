"""Delivery of notifications to each target: order, retries, lease among nodes.

A target that hangs costs its own task alone. Its events wait in the database, so a hub that ends, or another
one that takes the lease, loses none; one that was sent and not recorded is sent again with the same id.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Chance, Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.base.periodic_loop import PeriodicLoop
from hub.base.toml.notify_targets import NotifySettings
from hub.notify.sending import IN_A_MAIL, TEST, Sender, SendResult
from protocol.backoff import Backoff
from protocol.errors import CodedError
from protocol.ids import BootId
from storage import deliveries
from storage import leases as storage_leases
from storage.deliveries import DeliveryRow, OpenIssue, TargetRow
from storage.kernel.database import StorageError
from storage.leases import LostLease, Term
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 2.0  # rest of a target without work
LEASE_MS: Final = 90_000
RENEW_EVERY_S: Final = 20.0
SAVED_EVERY_S: Final = 600.0  # of a cursor that no delivery moves
ACQUIRE_EVERY_S: Final = 15.0
IN_A_ROUND: Final = 100  # messages
MAILS_EVERY_S: Final = 60.0
SETTLED_S: Final = 660.0  # after a start, by when all checks of issues know what they find
AGAIN: Final = Backoff(base_s=4.0, cap_s=3_600.0)


class Notifier:
    """Service that sends events to the targets of the settings.

    Args:
        pages: returns the address of the dashboard; None: it is not known.

    Attributes:
        problems: why targets are not served at this hub, by their names.
    """

    def __init__(
        self,
        store: Store,
        *,
        hub: str,
        rules: OutboundRules,
        boot_id: BootId,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        pages: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self.problems: dict[str, str] = {}
        self.targets: tuple[NotifySettings, ...] = ()
        self._served: dict[str, anyio.CancelScope] = {}  # by name
        self.store = store
        self.boot_id = boot_id
        self.clock = clock
        self.chance = chance
        self.counted = metrics.deliveries
        self._hub = hub
        self._rules = rules
        self._pages = pages
        self._changed = anyio.Event()
        self._began = clock.monotonic()
        self._synced: object = None

    def sender(self, target: NotifySettings) -> Sender:
        """Return a new sender for a target."""
        return Sender(target, hub=self._hub, rules=self._rules, clock=self.clock, pages=self._pages)

    def apply(self, targets: Sequence[NotifySettings]) -> None:
        """Serve these targets from now on; each goes on from the database."""
        digests = {target.digest for target in targets}
        changed = [target.name for target in self.targets if target.digest not in digests]
        if not changed and len(targets) == len(self.targets):
            return
        self.targets, self._synced = tuple(targets), None
        for name in changed:
            self.problems.pop(name, None)
            if name in self._served:
                self._served[name].cancel()
        self._changed.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the targets until cancelled."""
        task_status.started()
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed = anyio.Event()
                for name in [target.name for target in self.targets if target.name not in self._served]:
                    self._served[name] = anyio.CancelScope()
                    tasks.start_soon(self._serve, name)
                await self._changed.wait()

    async def _serve(self, name: str) -> None:
        """Serve a target until the settings name it no more, anew with each change of it."""
        try:
            while targets := [target for target in self.targets if target.name == name]:
                with anyio.CancelScope() as self._served[name]:
                    await _TargetWork(self, targets[0]).serve()
        finally:
            del self._served[name]

    async def issues_found(self, found: Sequence[OpenIssue]) -> None:
        """Write deliveries of issues that this hub found, or finds no more."""
        age_s = self.clock.monotonic() - self._began
        may_close = age_s >= SETTLED_S
        # Now and then also without a change: another hub that found issues may have ended.
        known = may_close, age_s // SAVED_EVERY_S, sorted((issue.key, issue.is_muted) for issue in found)
        if known == self._synced or not self.targets:
            return
        rows = await self.store.read(deliveries.list_targets)
        for target in (candidate for candidate in self.targets if candidate.name in rows):
            with suppress(CodedError):  # its row was erased with its user in this moment
                await self.store.write(
                    deliveries.sync_issues,
                    target.name,
                    self.boot_id,
                    found,
                    may_close=may_close,
                    events=target.sent_events,
                    has_texts=target.titles,
                    at=now_ms(self.clock),
                )
        if all(target.name in rows for target in self.targets):
            self._synced = known

    async def test(self, target: NotifySettings, id: str) -> SendResult:
        """Send a test to a target now. A target that takes it is tried again, if it was disabled."""
        at = now_ms(self.clock)
        row = DeliveryRow(
            *(f"msg_{id}", target.name, 0, None, TEST, TEST, {"target": target.name}, "waiting"),
            *(0, None, at, at, None),
        )
        sender = self.sender(target)
        try:
            answer = await sender.send([row])
        finally:
            await sender.aclose()
        if answer.outcome == "delivered":
            await self.store.write(deliveries.try_again, target.name)
        return answer


class _TargetWork:
    """Work for one target."""

    def __init__(self, notifier: Notifier, target: NotifySettings) -> None:
        self._of = notifier
        self._store, self._clock = notifier.store, notifier.clock
        self._target = target
        self._sender = notifier.sender(target)
        self._term: Term | None = None
        self._row: TargetRow | None = None
        self._cursor = 0
        self._renewed = self._saved = 0.0  # uptime

    async def serve(self) -> None:
        """Collect and send until cancelled, then release the lease."""
        try:
            await PeriodicLoop(self._clock).serve(self._round, of="notify", every_s=EVERY_S)
        finally:
            with anyio.move_on_after(2.0, shield=True):
                await self._sender.aclose()
                if self._term is not None:
                    await self._resign(self._term)

    async def _resign(self, term: Term) -> None:
        with suppress(StorageError):  # it ends by itself
            await self._store.write(storage_leases.resign_lease, term)

    async def _round(self) -> float:
        try:
            if not await self._is_held():
                return ACQUIRE_EVERY_S
            while await self._collect():
                await self._is_held()
            for _ in range(IN_A_ROUND):
                if rest_s := await self._send():
                    return rest_s
        except LostLease:
            self._term = None
        return 0.0

    async def _is_held(self) -> bool:
        """Return True while this hub has the target; take or renew its lease if due. Raises LostLease."""
        now, name = self._clock.uptime_s(), self._target.name
        if self._term is None:
            ttl_ms = LEASE_MS if self._store.is_shared else storage_leases.ALONE_MS
            term = await self._store.write(
                storage_leases.acquire_lease, f"notify {name}", self._of.boot_id, ttl_ms=ttl_ms
            )
            if term is None:
                return False
            try:
                self._row = await self._store.write(
                    deliveries.open_target,
                    name,
                    digest=self._target.digest,
                    user=self._target.user,
                    at=now_ms(self._clock),
                )
            except CodedError as exc:  # the user may come with an agent or a device
                self._of.problems[name] = str(exc)
                await self._resign(term)
                return False
            self._of.problems.pop(name, None)
            self._term, self._cursor = term, self._row.cursor
            self._renewed = self._saved = now
        elif self._store.is_shared and now - self._renewed >= RENEW_EVERY_S:
            if not await self._store.write(storage_leases.renew_lease, self._term, ttl_ms=LEASE_MS):
                raise LostLease(f"another hub has the target {name}")
            self._renewed = now
        return True

    async def _collect(self) -> bool:
        """Make deliveries of what changed. Return True if there is more."""
        assert self._term is not None and self._row is not None
        target, at, now = self._target, now_ms(self._clock), self._clock.uptime_s()
        news = await self._store.read(
            deliveries.read_news,
            self._row,
            self._cursor,
            events=target.sent_events,
            has_titles=target.titles,
            at=at,
        )
        is_old = news.cursor != self._cursor and now - self._saved >= SAVED_EVERY_S
        if news.events or news.has_gap or is_old:
            await self._store.write(deliveries.add_news, self._term, target.name, news, at=at)
            self._saved = now
        self._cursor = news.cursor
        return news.has_more

    async def _send(self) -> float:
        """Send the next message. Return the seconds to rest, or 0."""
        assert self._term is not None
        await self._is_held()
        target, at = self._target, now_ms(self._clock)
        row, sent = await self._store.read(
            deliveries.next_deliveries,
            target.name,
            at=at,
            most=IN_A_MAIL if target.kind == "smtp" else 1,
        )
        if row is None:  # it was erased with its user
            raise LostLease(f"there is no target {target.name} any more")
        if not sent:
            return EVERY_S
        answer = await self._sender.send(sent)
        is_delivered = answer.outcome == "delivered"
        wait_s = due_s = MAILS_EVERY_S if target.kind == "smtp" and is_delivered else 0.0
        if not is_delivered:
            # An event that is refused again and again delays the others no more than the first time.
            draw = self._of.chance.uniform(0.5, 1)
            wait_s = max(AGAIN.delay(row.failures, draw), answer.wait_s or 0.0)
            due_s = max(AGAIN.delay(sent[0].attempts, draw), wait_s)
            log.info("notify.not_delivered", target=target.name, outcome=answer.outcome, answer=answer.text)
        await self._store.write(
            deliveries.settle,
            self._term,
            sent,
            answer.outcome,
            answer.text,
            wait_ms=int(wait_s * 1_000),
            due_ms=int(due_s * 1_000),
            at=now_ms(self._clock),
        )
        self._of.counted.labels(target.kind, answer.outcome).inc(len(sent))
        return 0.0
