"""Application of changed settings to the running parts: order of steps, failures, state of each node."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from msgspec.structs import astuple

from hub.agents.reconciliation import reconcile
from hub.api.http.listening import listen_on_tcp
from hub.app.boot import HubContext, StartResult
from hub.app.listeners import DEVICES, OPERATORS
from hub.base.clock import now_ms
from hub.base.listen_errors import CannotListen
from hub.base.log import Channel
from hub.base.name_lists import listed
from hub.base.toml.positions import KeyPath
from hub.base.toml.problems import SettingsInvalid
from hub.base.toml.values import HostPort
from hub.links.roster import SharedRoots
from hub.settings.declared import (
    declared_agents,
    declared_connectors,
    declared_gateways,
    declared_templates,
)
from hub.settings.edits import APPLIED, CHANGED, Revision
from hub.settings.reading import Shared
from hub.settings.reload import ACTOR, ChangedKeys, Commit, Parts, Prepare, Reloader, Remark, Unfit
from hub.settings.settings import Settings
from protocol.ids import NodeId
from storage import audit
from storage.agents.declared_agents import NameTaken, TooManyDeclared, check_names, check_number
from storage.agents.template_changes import WouldBreak
from storage.agents.templates import UnknownTemplate
from storage.audit import AuditEntry
from storage.connectors import connectors
from storage.connectors.connectors import UnknownConnector
from storage.coordination import gateways
from storage.coordination.gateway_agents import RemoteIdTaken
from storage.devices import devices, pairings
from storage.devices import settings_revisions as devices_settings_revisions
from storage.devices import users as devices_users
from storage.devices.settings_revisions import SettingsRevision
from storage.kernel.database import StorageError
from storage.store import Connection, Store

log = Channel(__name__)

NOTHING_CHANGED: Final = ChangedKeys()
MAX_NAMED = 20  # keys of a change named in the audit log


def make_parts(
    context: HubContext,
    boot: StartResult,
    *,
    shared: SharedRoots,
    prepare: Sequence[Prepare],
    renewed: Callable[[Settings], Sequence[str]],
    agents_changed: Commit,
    after: Callable[[], None],
) -> Parts:
    """Create the callbacks by which this hub applies settings.

    Args:
        shared: folders that the devices share.
        prepare: callbacks of the parts that use new settings without a restart.
        agents_changed: called after the agents' rows have changed.
        renewed, after: as in ``Parts``.
    """

    def prepare_all(settings: Settings) -> Commit:
        _try_addresses(context, settings)
        commits = [*(prepare_part(settings) for prepare_part in prepare), agents_changed]

        def commit() -> None:
            for take_up in commits:
                take_up()

        return commit

    return Parts(
        prepare=prepare_all,
        reconcile=partial(_reconcile, context, boot),
        record=partial(_record, context),
        validate=partial(_check_names, context, boot),
        record_refused=partial(_record_refusal, context),
        newest=partial(newest_revision, context.store),
        lag=partial(_record_lag, context),
        remark=partial(_remarks, context, shared),
        renewed=renewed,
        after=after,
    )


async def begin_with_revision(store: Store, reloader: Reloader, node_id: NodeId) -> str:
    """Use the newest revision of the shared settings from the start on, else the one that the node used last.

    Returns:
        why the newest one is not used; empty if it is, or if there is none.

    Raises:
        SettingsInvalid: the node can use neither.
    """
    newest = await newest_revision(store)
    if newest is None:
        return ""
    try:
        reloader.begin_with(newest)
    except SettingsInvalid as error:
        last = await store.read(devices_settings_revisions.revision_of, node_id)
        if last is None or last.number == newest.number:
            raise
        reloader.begin_with(Shared(last.number, last.text))
        return str(error.problems[0])
    return ""


async def newest_revision(store: Store, known: int | None = None) -> Shared | None:
    """Return the newest revision of the shared settings; None: there is none, or its number is *known*."""
    if known is not None:
        if not store.is_shared:  # then only this process publishes
            return None
        if await store.read(devices_settings_revisions.newest_number) == known:
            return None
    newest = await store.read(devices_settings_revisions.newest_revision)
    return None if newest is None else Shared(newest.number, newest.text)


def at_once(apply: Callable[[Settings], None]) -> Prepare:
    """Return the preparation of a part whose changes cannot fail."""
    return lambda settings: partial(apply, settings)


async def last_generation(store: Store, node_id: NodeId) -> int:
    """Return the number of the settings that this node applied last; 1 if no change is known."""
    for node in (node_id, None):  # an earlier release wrote no node
        for entry in await store.read(audit.list_entries, limit=1, event=APPLIED, subject=node):
            known = audit.read_detail(entry.detail).get("generation")
            return known if entry.subject == node and isinstance(known, int) else 1
    return 1


def _entries(
    context: HubContext, actor: str, revision: Revision, found: ChangedKeys = NOTHING_CHANGED
) -> tuple[AuditEntry, ...]:
    """Return the audit entries of applied settings: one for each key, then one for all."""
    at = now_ms(context.clock)
    about = {"generation": revision.generation, "source": revision.source}
    shared = {} if revision.shared is None else {"revision": revision.shared.number}
    named = {name: listed(keys, MAX_NAMED) for name, keys in found._asdict().items() if keys}
    of_change = {**about, "node": context.node.id, **(shared if revision.is_published else {})}
    entries = []
    for change in revision.changes:
        detail = {**of_change, "old": change.old, "new": change.new}
        entries.append(AuditEntry(at=at, actor=actor, event=CHANGED, subject=change.key, detail=detail))
    applied = {**about, **shared, **named}
    entries.append(AuditEntry(at=at, actor=actor, event=APPLIED, subject=context.node.id, detail=applied))
    return tuple(entries)


async def _record(context: HubContext, revision: Revision) -> bool:
    """Write what was changed while the hub was down. Return False if the log has it already.

    It has it where the hub was killed after it had applied a change, and before it kept the text.
    """
    try:
        if revision.changes and all(
            [await _is_known(context, *astuple(change)) for change in revision.changes]
        ):
            return False
        await context.store.write(audit.append_entries, _entries(context, ACTOR, revision))
    except StorageError as error:  # the hub works with the settings all the same
        log.warning("audit.not_written", code=error.code, reason="settings")
    return True


async def _is_known(context: HubContext, key: str, old: str | None, new: str | None) -> bool:
    """Return True if the last change of a key at this node in the audit log is this one."""
    entries = await context.store.read(audit.list_entries, limit=50, event=CHANGED, subject=key)
    details = (audit.read_detail(entry.detail) for entry in entries)
    last = next(
        (detail for detail in details if detail.get("node", context.node.id) == context.node.id), None
    )
    return last is not None and (last.get("old"), last.get("new")) == (old, new)


async def _reconcile(
    context: HubContext,
    boot: StartResult,
    settings: Settings,
    actor: str,
    found: ChangedKeys,
    revision: Revision,
) -> None:
    with _placed(settings):
        await reconcile(
            context.store,
            declared_agents(settings),
            user_id=boot.user_id,
            clock=context.clock,
            ids=context.ids,
            templates=declared_templates(settings),
            declared_gateways=declared_gateways(settings),
            declared_connectors=declared_connectors(settings),
            force=False,
            most_per_user=settings.limits.agents_per_user,
            entries=_entries(context, actor, revision, found),
            node_id=context.node.id,
            also=partial(_use, context, actor, revision),
        )


def _use(context: HubContext, actor: str, revision: Revision, c: Connection) -> None:
    """Publish the revision of the shared settings if it is new, and record that this node uses it."""
    shared = revision.shared
    if shared is not None and revision.is_published:
        row = SettingsRevision(shared.number, shared.text, actor, now_ms(context.clock))
        devices_settings_revisions.publish(c, row)
    devices_settings_revisions.record_use(c, context.node.id, None if shared is None else shared.number)


async def _record_lag(context: HubContext, why: str) -> None:
    try:
        await context.store.write(devices_settings_revisions.record_refusal, context.node.id, why)
    except StorageError as error:  # the log has it
        log.warning("settings.lag_not_written", code=error.code)


async def _check_names(context: HubContext, boot: StartResult, settings: Settings) -> None:
    """Check names and numbers of agents. Raises Unfit for one whose name is taken, or that is too many."""
    with _placed(settings):
        await context.store.read(gateways.check_main_agents, declared_gateways(settings))
        declared, most = declared_agents(settings), settings.limits.agents_per_user
        await context.store.read(check_names, user_id=boot.user_id, declared=declared)
        await context.store.read(check_number, user_id=boot.user_id, declared=declared, most_per_user=most)


@contextmanager
def _placed(settings: Settings) -> Iterator[None]:
    """Convert refusals of the database about agents to problems with a position in the file."""
    try:
        yield
    except NameTaken as error:
        number = [agent.name for agent in settings.agents].index(error.name)
        raise Unfit(("agents", number, "name"), "an agent created over the API has this name") from error
    except TooManyDeclared as error:
        hint = "nothing was applied; raise agents_per_user in [limits], or: hub agents delete NAME"
        raise Unfit(("agents", error.number, "name"), str(error), hint) from error
    except UnknownTemplate as error:
        number = [agent.template for agent in settings.agents].index(error.name)
        hint = "'hub templates' lists all templates"
        raise Unfit(("agents", number, "template"), str(error), hint) from error
    except UnknownConnector as error:
        number = [agent.connector for agent in settings.agents].index(error.name)
        raise Unfit(("agents", number, "connector"), str(error), "write it in [[connectors]]") from error
    except RemoteIdTaken as error:
        number = [gateway.name for gateway in settings.gateways].index(error.gateway)
        raise Unfit(("gateways", number, "main_agent"), str(error), "'hub agents' lists them") from error
    except WouldBreak as error:
        names = [agent.name for agent in settings.agents]
        ours = [names.index(broken.name) for broken in error.broken if broken.name in names]
        hint = "nothing was applied; correct the template, or the agents"
        raise Unfit(("agents", ours[0], "name") if ours else ("templates",), str(error), hint) from error


async def _remarks(context: HubContext, shared: SharedRoots, settings: Settings) -> list[Remark]:
    return [
        *await _users_made(context.store, settings),
        *await _unknown_devices(context, settings),
        *await _paths_outside(context.store, shared, settings),
        *await _sign_ins_deleted(context.store, settings),
    ]


async def _sign_ins_deleted(store: Store, settings: Settings) -> list[Remark]:
    """Warn of accounts whose stored password or sign-in is deleted: they have another server or user."""
    held = await store.read(connectors.origins_of_credentials) if settings.connectors else {}
    return [
        Remark(
            ("connectors", number, "name"),
            f"the stored password or sign-in of {connector.name} is deleted with this change:"
            " it is not sent to another server, in another way, or for another user",
            f"afterwards: hub connectors login {connector.name}",
        )
        for number, connector in enumerate(declared_connectors(settings))
        if connector.problem is None
        and (before := held.get((connector.user_name, connector.name))) is not None
        and not connectors.grant_covers(before, connector.origin)
    ]


async def _paths_outside(store: Store, shared: SharedRoots, settings: Settings) -> list[Remark]:
    """Warn of agents' paths outside the folders that their devices share, if these are known."""
    names = {user.id: user.name for user in await store.read(devices_users.list_users)}
    ids = {
        (names[row.user_id], row.name): row.id
        for row in await store.read(devices.list_devices)
        if row.revoked_at is None
    }
    remarks = []
    for number, agent in enumerate(settings.agents):
        device_id = None if agent.device is None else ids.get((agent.user, agent.device))
        if device_id is None:  # none is named, or it is not known
            continue
        for path in shared.outside(device_id, agent.paths or ()):
            message = f"{path} lies outside of what the device shares"
            hint = f"it shares {', '.join(shared.of(device_id))}"
            remarks.append(Remark(("agents", number, "paths"), message, hint))
    return remarks


async def _unknown_devices(context: HubContext, settings: Settings) -> list[Remark]:
    """Warn of unknown device names, which may be misspelt, where other devices have been paired."""
    names = await context.store.read(pairings.list_names, at=now_ms(context.clock))
    ids = {user.name: user.id for user in await context.store.read(devices_users.list_users)}
    named = [
        (number, agent.device, ids[agent.user])
        for number, agent in enumerate(settings.agents)
        if agent.device and agent.user in ids
    ]
    hints = names.hints((device, user_id) for _, device, user_id in named)
    return [
        Remark(("agents", number, "device"), f"no device {device!r} has been let in", hint)
        for (number, device, _), hint in zip(named, hints, strict=True)
        if hint
    ]


async def _users_made(store: Store, settings: Settings) -> list[Remark]:
    """Warn of new users that the settings create, because a misspelt name creates one."""
    named: dict[str, KeyPath] = {}
    for table, users_of in (
        ("agents", [agent.user for agent in settings.agents]),
        ("gateways", [gateway.user for gateway in settings.gateways]),
        ("connectors", [connector.user for connector in settings.connectors]),
    ):
        for number, name in enumerate(users_of):
            named.setdefault(name, (table, number, "user"))
    return [
        Remark(
            named[name], f"makes user '{name}'", "if the name is mistyped: hub users lists those there are"
        )
        for name in await store.read(devices_users.not_made_yet, list(named))
    ]


async def _record_refusal(context: HubContext, actor: str, why: str) -> None:
    entry = AuditEntry(
        at=now_ms(context.clock),
        actor=actor,
        event="settings.refused",
        outcome="refused",
        detail={"why": why[:500]},
    )
    try:
        await context.store.write(audit.append_entry, entry)
    except StorageError as error:  # the caller still needs the problem of the settings
        log.warning("audit.not_written", code=error.code, reason="settings")


def _try_addresses(context: HubContext, settings: Settings) -> None:
    """Try to bind new addresses now, so that the failure does not occur at the restart."""
    was, now = context.settings.listen, settings.listen
    ours = {listener.address.port for _, listener in was.named()}  # free once this hub has stopped
    with ExitStack() as tried:
        for held, key, before, after in (
            (DEVICES, "devices", was.devices.address, now.devices.address),
            (OPERATORS, "operator", was.operator.address, now.operator.address),
        ):
            if held not in context.manager.sockets and after != before and after.port not in ours:
                tried.enter_context(_bound(after, ("listen", key, "address")))
        hooks = None if now.webhooks is None else now.webhooks.address
        if hooks is not None and hooks != (was.webhooks and was.webhooks.address) and hooks.port not in ours:
            tried.enter_context(_bound(hooks, ("listen", "webhooks", "address")))


def _bound(address: HostPort, path: KeyPath) -> ExitStack:
    stack = ExitStack()
    try:
        stack.enter_context(listen_on_tcp(address))
    except CannotListen as error:
        raise Unfit(path, str(error), "choose an address that is free") from error
    return stack
