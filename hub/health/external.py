"""Issues about models, connectors, notification targets and other systems that the hub calls."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Protocol

import anyio

from hub.accounts.connector_accounts import Accounts
from hub.accounts.sealing_keys import BadKeys
from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.name_lists import count_waiting
from hub.base.roles import Scope
from hub.base.toml.notify_targets import NotifySettings
from hub.health.issues import Finding, Fix, Severity, error, post, warning
from hub.notify.notifier import Notifier
from hub.runs.span_export import SpanExport
from hub.runs.wait_sentences import describe_time
from protocol.causes import AT_ONCE, MODEL, account_cause
from storage import deliveries
from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow, GrantAge
from storage.deliveries import TargetRow
from storage.runs import waiting_runs
from storage.store import Store

Reach = Callable[[], Awaitable[str | None]]  # returns the problem of an endpoint, or None

DAY_MS: Final = 86_400_000
# A provider that ended a sign-in after a week will end the next after a week too: Google does so to OAuth
# clients in status "Testing". The range holds integers only; a lookup of None would compare every element,
# which takes three seconds.
WEEK_MS: Final = range(6 * DAY_MS + DAY_MS // 2, 7 * DAY_MS + DAY_MS // 2)
FAILURES: Final = 3  # in a row; shorter series are treated as transient, unless their cause lasts


DROPPED_SPANS_REPORTED: Final = timedelta(hours=1)  # after the last one

FAILS_FOR: Final = timedelta(hours=1)  # a receiver that is updated is back by then


class EndpointState(Protocol):
    """State of an endpoint of models, which its circuit breaker keeps.

    Attributes:
        error: the last error since the last answer.
        failed_at: time of the first one.
        wait_s: seconds until it is asked again; 0.0 if it may be asked.
    """

    failed_at: datetime | None

    @property
    def error(self) -> Exception | None: ...

    @property
    def wait_s(self) -> float: ...


def check_bus(since: datetime | None, why: str) -> Iterable[Finding]:
    """Find a bus between the nodes that is away *since* then; empty *why*: it connects for the first time."""
    if since is None or not why:
        return []
    return [
        warning(
            "bus.away",
            "no connection to the NATS server of [cluster] bus, so what needs another node is refused:"
            f" {why}",
            fix="start it, or correct the address in hub.toml; all else goes on",
            since=since,
        )
    ]


async def check_spans(spans: SpanExport, now: datetime) -> Iterable[Finding]:
    """Find spans that were dropped lately."""
    if spans.dropped_at is None or now - spans.dropped_at >= DROPPED_SPANS_REPORTED:
        return []
    return [
        warning(
            "spans.dropped",
            f"the receiver of [traces] otlp lacks spans of runs: {spans.problem}",
            fix="see to the receiver, or remove the key from hub.toml; runs do not wait for it",
        )
    ]


async def check_targets(store: Store, notifier: Notifier, now: datetime) -> Iterable[Finding]:
    """Find targets of events that do not take any for long, or not at all."""
    rows = await store.read(deliveries.list_targets) if notifier.targets else {}
    return [
        finding
        for target in notifier.targets
        if (finding := _about_target(target, rows.get(target.name), notifier.problems.get(target.name), now))
    ]


def _about_target(
    target: NotifySettings, row: TargetRow | None, problem: str | None, now: datetime
) -> Finding | None:
    user_id = None if row is None else row.user_id
    since = None if row is None or row.failing_since is None else from_epoch_ms(row.failing_since)
    if problem is None and row is not None and since is not None:
        if row.disabled_at is None and now - since < FAILS_FOR:
            return None
        left_out = f", and {row.left_out} were left out" if row.left_out else ""
        problem = f"{row.problem}; {row.waiting} wait{left_out}"
    if problem is None:
        return None
    return warning(
        "notify.failing",
        f"target {target.name} takes no events: {problem}",
        fix=f"see to its receiver, or to its entry of hub.toml; then: hub notify test {target.name}",
        subject=target.name,
        user_id=user_id,
        since=since,
    )


async def check_reach(endpoints: Mapping[str, Reach], now: datetime) -> Iterable[Finding]:
    """Return the check that contacts the endpoints of all models concurrently, keyed by model name."""
    wrong: dict[str, str] = {}

    async def ask(name: str, reach: Reach) -> None:
        if (explanation := await reach()) is not None:
            wrong[name] = explanation

    async with anyio.create_task_group() as asking:
        for name, reach in endpoints.items():
            asking.start_soon(ask, name, reach)
    return [
        error(
            "model.unreachable",
            f"the model {name} was asked at {now:%Y-%m-%d %H:%M} UTC: {wrong[name]}",
            fix="start it, or correct its table in hub.toml: hub config edit; then hub doctor --online",
            subject=name,
        )
        for name in endpoints
        if name in wrong
    ]


class Away(Protocol):
    """Callable that returns why no model is asked, or None while one is. See ``ModelGates.away``."""

    def __call__(self, *, allow_cloud: bool) -> str | None: ...


async def check_models(
    store: Store, breakers: Mapping[str, EndpointState], away: Away, now: datetime
) -> Iterable[Finding]:
    """Find models that gave no answer to the last question, or have no quota left, and who waits for them.

    A circuit breaker keeps the error from the first failure until an answer, so that the finding holds while
    waiting runs try again. After a restart no breaker knows of it, and the waiting runs alone show it.
    """
    waiting = await store.read(waiting_runs.model_waits)
    failing = {name: breaker for name, breaker in breakers.items() if breaker.error is not None}
    if not failing:
        return [_about_waits(waits, away) for waits in waiting]
    answering = [name for name in breakers if name not in failing]
    meanwhile = f"{answering[0]} is asked instead" if answering else "no document is read by a model"
    again = "the next document finds out whether it is over"
    if count := sum(waits.count for waits in waiting):
        meanwhile += f"; {count_waiting(count, 'run')}"
        again = "it is tried again and again"
    findings = []
    for name, breaker in failing.items():
        # Without another endpoint, a wait holds only where the quota is used up.
        has_wait = breaker.wait_s and (answering or hasattr(breaker.error, "reason"))
        when = describe_time(now + timedelta(seconds=breaker.wait_s), now, UTC)
        then = f"it is not asked before {when}" if has_wait else again
        findings.append(_about_endpoint(name, breaker, f"{then}, and until then {meanwhile}"))
    return findings


def _about_endpoint(name: str, breaker: EndpointState, meanwhile: str) -> Finding:
    failure = breaker.error
    word = getattr(failure, "reason", None) or getattr(failure, "code", None)  # the reason is more exact
    cause = MODEL.get(str(word), MODEL["model_unavailable"])
    return Finding(
        Severity.ERROR if cause.lasts_after_s == AT_ONCE else Severity.WARNING,
        "model.away",
        f"{failure}; {meanwhile}",
        fix=cause.remedy,
        subject=name,
        since=breaker.failed_at,
    )


def _about_waits(waits: waiting_runs.ModelWaits, away: Away) -> Finding:
    which = "model" if waits.allow_cloud else "model of agents without the cloud"
    why = away(allow_cloud=waits.allow_cloud) or "it is asked again now"
    return warning(
        "model.away",
        f"{count_waiting(waits.count, 'run')} for the {which}, which gives no answers: {why}",
        fix="hub doctor --online checks its endpoint; hub runs lists the waiting runs,"
        " and they continue once the model answers",
        subject="" if waits.allow_cloud else "without the cloud",
        since=from_epoch_ms(waits.since),
    )


async def check_connectors(
    store: Store, way_in: Callable[[str], str | None], now: datetime
) -> Iterable[Finding]:
    """Find connectors that need their user to sign in or correct something, now or soon.

    Args:
        way_in: returns how a person signs in to the named connector, or None if hub.toml has its secret.
    """
    ages = {grant.connector_id: grant for grant in await store.read(connectors.list_grants)}
    return [
        found
        for row in await store.read(connectors.list_connectors)
        for found in _about_connector(
            row, ages.get(row.id), epoch_ms(now), is_granted=way_in(row.name) is not None
        )
    ]


async def check_keys(accounts: Accounts, now: datetime) -> Iterable[Finding]:
    """Find keys that cannot be used, and those that seal sign-ins and are not on this node."""
    try:
        missing = await accounts.missing_keys()
    except BadKeys as failure:
        lost = f"{failure}; the lines around new items are not kept, and no sign-in is used"
        return [error("keys.unusable", lost, fix=f"let the user of the hub use them alone; {failure.hint}")]
    if not missing:
        return []
    ids = ", ".join(map(str, missing))  # a broken row has none
    explanation = f"{sum(missing.values())} sign-ins are sealed by keys that are not here: {ids}"
    fix = f"{accounts.keys.remedy}; or sign in again"
    return [error("keys.missing", f"{explanation}; their connectors cannot be read here", fix=fix)]


async def check_files(store: Store, accounts: Accounts, now: datetime) -> Iterable[Finding]:
    """Find files that settings of connectors name and this node cannot use."""
    problems = await accounts.unusable_files()
    if not problems:
        return []
    node = accounts.keys.node_label
    return [
        error(
            "connector.file",
            f"connector {row.name} cannot be read at node {node}: {problems[row.name]}",
            fix=f"put the file there, or correct its path; then hub connectors test {row.name}",
            subject=row.name,
            user_id=row.user_id,
        )
        for row in await store.read(connectors.list_connectors)
        if row.name in problems and row.state == "ok"
    ]


def _about_connector(
    row: ConnectorRow, grant: GrantAge | None, now: int, *, is_granted: bool
) -> Iterator[Finding]:
    about = partial(Finding, subject=row.name, user_id=row.user_id)
    explanation = f"connector {row.name}: {row.detail}"
    login, test = f"hub connectors login {row.name}", f"hub connectors test {row.name}"
    cause = account_cause(
        row.name, row.state, row.reason or "", is_granted=is_granted, was_reached=row.last_ok_at is not None
    )
    sign_in = (Fix("Sign in", login, "GET", f"/connectors/{row.name}", Scope.DEVICES),)
    try_it = post("Test the account", test, f"/v1/connectors/{row.id}/test", Scope.RUN)
    lasts = row.failures > 0 and cause.lasts_after_s == AT_ONCE
    if row.state == "sign_in":
        fixes = sign_in if is_granted else try_it
        yield about(Severity.ERROR, "connector.sign_in", explanation, fix=cause.remedy, fixes=fixes)
    elif row.state == "blocked" or lasts:
        yield about(Severity.ERROR, "connector.blocked", explanation, fix=cause.remedy, fixes=try_it)
    elif row.failures >= FAILURES:
        explanation = f"connector {row.name} failed {row.failures} times in a row: {row.detail}"
        yield about(Severity.WARNING, "connector.failing", explanation, fix=cause.remedy, fixes=try_it)
    elif grant is not None and (grant.ended_after or 0) in WEEK_MS and now - grant.granted_at >= 5 * DAY_MS:
        ends = from_epoch_ms(grant.granted_at + 7 * DAY_MS)
        yield about(
            Severity.WARNING,
            "connector.ends_soon",
            f"connector {row.name}: its last sign-in was ended after a week, and this one may be on {ends:%A}"
            " (Google does so to a client in status Testing)",
            fix=f"{login}; a client in status In production keeps its sign-ins",
            fixes=sign_in,
        )
