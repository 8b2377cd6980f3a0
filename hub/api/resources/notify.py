"""Routes of notification targets: list, test, retry, and their deliveries."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Name,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.base.clock import Clock, IdFactory
from hub.base.roles import Scope
from hub.base.toml.notify_targets import Kind, NotifySettings
from hub.notify.notifier import Notifier
from protocol.errors import CodedError, ErrorCode
from storage import deliveries
from storage.deliveries import DeliveryRow, State, TargetRow
from storage.store import Connection, Store


class TargetView(View, kw_only=True):
    """A target of hub.toml.

    *host*: of its address, which may have a secret in its path. *state*: *ok*; *failing*: nothing is sent
    before *retry_at*; *disabled*: the address asked for no more (410). *problem*: why. *waiting*: events that
    were not delivered yet; *left_out*: those that never will be, since their number was named last.
    """

    name: str
    kind: Kind
    host: str
    user: str | None = None
    events: tuple[str, ...]
    state: Literal["ok", "failing", "disabled"]
    problem: str | None = None
    waiting: int = 0
    left_out: int = 0
    delivered_at: Instant | None = None
    failing_since: Instant | None = None
    retry_at: Instant | None = None


class DeliveryView(View, kw_only=True):
    """An event on its way to a target. *number*: its number in the order; *answer*: of the last attempt."""

    id: str
    number: int
    target: str
    event: str
    subject: str
    state: State
    attempts: int
    answer: str | None = None
    created_at: Instant
    due_at: Instant
    answered_at: Instant | None = None


class TargetTest(View):
    """Answer of a target to a test."""

    target: str
    outcome: Literal["delivered", "later", "refused", "gone"]
    answer: str
    is_ok: bool


class NotifyResource(Resource):
    """Targets of [[notify]]; scoped to a user, those that get this user's events only."""

    name, path = "notify", "/v1/notify"
    errors = (ErrorCode.UNKNOWN_TARGET,)
    list_key = "targets"

    def __init__(self, store: Store, notifier: Notifier, *, clock: Clock, ids: IdFactory) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._ids = ids

    @command(
        "notify ls",
        example="hub notify ls",
        json="notify",
        table=(
            "name as target",
            "kind",
            "host",
            "user as user?",
            "state",
            "delivered_at|at as last delivery",
            "waiting",
            "left_out as left out?",
            "failing_since|at as failing since?",
            "problem as because?",
        ),
        empty="no targets; add one to hub.toml: [[notify]]",
    )
    @listed("", Scope.READ, key=lambda target: (target.name,))
    async def all(self, part: ListPart = ALL) -> list[TargetView]:
        """List the targets by name, with the last delivery and what waits."""
        rows = await self._store.read(deliveries.list_targets)
        seen = [target for target in self._notifier.targets if self._is_seen(rows.get(target.name))]
        views = [
            _view(target, rows.get(target.name), self._notifier.problems.get(target.name)) for target in seen
        ]
        return part.of(views, lambda view: (view.name,))

    @command(
        "notify retry DELIVERY",
        example="hub notify retry msg_3a5f0c2e9b1d4f6a8c7e0d2b4a6f8c1e",
        json="delivery",
        message="delivery {id} is sent again",
    )
    @route("POST", "/deliveries/{delivery}/retry", Scope.RUN)
    @audited("notify.retried")
    async def retry(self, delivery: Annotated[str, Meta(max_length=100)], actor: Actor) -> DeliveryView:
        """Send a delivery once more with its id, and try its target at once, even if it was disabled."""

        change = partial(deliveries.retry, at=self._now)
        return await self._changed(delivery, change, f"there is no delivery {delivery}")

    @command(
        "notify drop DELIVERY",
        example="hub notify drop msg_3a5f0c2e9b1d4f6a8c7e0d2b4a6f8c1e",
        json="delivery",
        message="delivery {id} is given up",
    )
    @route("POST", "/deliveries/{delivery}/drop", Scope.RUN)
    @audited("notify.dropped")
    async def drop(self, delivery: Annotated[str, Meta(max_length=100)], actor: Actor) -> DeliveryView:
        """Give up a delivery that waits, and send at once what waits behind it."""
        return await self._changed(delivery, deliveries.drop, f"no delivery {delivery} waits")

    async def _changed(
        self, id: str, change: Callable[[Connection, str], DeliveryRow | None], problem: str
    ) -> DeliveryView:
        """Change a delivery of this user, and return it. Raises CodedError."""

        def write(c: Connection) -> DeliveryRow:
            row = change(c, id)
            if row is None or not self._is_seen(deliveries.find_target(c, row.target)):
                raise CodedError(ErrorCode.UNKNOWN_TARGET, problem)
            return row

        return DeliveryView.from_row(await self._store.write(write))

    @command(
        "notify test TARGET",
        example="hub notify test ops",
        json="notify_test",
        message="target {target}: {outcome} ({answer})",
        fails_if="is_ok|no",
    )
    @route("POST", "/{target}/test", Scope.RUN)
    @audited("notify.tested", is_act=True)
    async def test(self, target: Name, actor: Actor) -> TargetTest:
        """Send a test now. If the target takes it, events that wait for it are sent at once."""
        self.check(await self._store.read(deliveries.find_target, target), target)
        settings = next(
            (configured for configured in self._notifier.targets if configured.name == target), None
        )
        if settings is None:
            raise _unknown(target)
        answer = await self._notifier.test(settings, self._ids.fresh())
        is_ok = answer.outcome == "delivered"
        return TargetTest(target=target, outcome=answer.outcome, answer=answer.text, is_ok=is_ok)

    def _is_seen(self, row: TargetRow | None) -> bool:
        return self.user_id is None or (row is not None and row.user_id == self.user_id)

    def check(self, row: TargetRow | None, name: str) -> None:
        """Refuse a target that does not exist, or is another user's. Raises CodedError."""
        is_known = row is not None or any(target.name == name for target in self._notifier.targets)
        if not is_known or not self._is_seen(row):
            raise _unknown(name)


class DeliveriesResource(Resource):
    """Deliveries to a target."""

    name, path = "deliveries", "/v1/notify/{target}/deliveries"
    errors = (ErrorCode.UNKNOWN_TARGET,)

    def __init__(self, store: Store, targets: NotifyResource) -> None:
        self._store = store
        self._targets = targets

    @command(
        "notify deliveries TARGET",
        example="hub notify deliveries ops",
        json="deliveries",
        options={"state": "--in-state: Only those in this state."},
        table=(
            "id as delivery",
            "created_at|at",
            "event",
            "state",
            "attempts as tries",
            "answer",
            "answered_at|at as last try",
        ),
        empty="nothing was delivered yet",
    )
    @listed("", Scope.READ, key=lambda delivery: (delivery.number,))
    async def all(self, target: Name, state: State | None = None, part: ListPart = ALL) -> list[DeliveryView]:
        """List deliveries to a target, the newest first."""

        def read(c: Connection) -> list[DeliveryRow]:
            self._targets.seen_by(self.user_id).check(deliveries.find_target(c, target), target)
            return deliveries.list_deliveries(c, target, state=state, limit=part.limit, after=part.after)

        return list(map(DeliveryView.from_row, await self._store.read(read)))


def _unknown(name: str) -> CodedError:
    return CodedError(ErrorCode.UNKNOWN_TARGET, f"there is no target {name!r}")


def _view(target: NotifySettings, row: TargetRow | None, problem: str | None) -> TargetView:
    host, events = urlsplit(target.url).hostname or "", target.sent_events
    about: dict[str, Any] = {
        "name": target.name,
        "kind": target.kind,
        "host": host,
        "user": target.user,
        "events": events,
    }
    if row is None:
        return TargetView(**about, state="ok" if problem is None else "failing", problem=problem)
    is_failing = row.failures > 0 or problem is not None
    state = "disabled" if row.disabled_at is not None else "failing" if is_failing else "ok"
    retry_at = row.retry_at or None
    return TargetView.from_row(row, **about, state=state, problem=problem or row.problem, retry_at=retry_at)
