"""Application of a hub.toml's agents, templates, gateways and connectors to the database."""

from collections.abc import Callable, Sequence

import msgspec

from hub.agents.schemas import problems_of
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel, learn_names
from protocol.ids import NodeId, UserId
from storage import audit
from storage.agents import agents, declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.templates import WrittenTemplate
from storage.audit import AuditEntry
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, Reconciled
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from storage.effects import declaring
from storage.store import Connection, Store

log = Channel(__name__)


async def reconcile(
    store: Store,
    declared: Sequence[DeclaredAgent],
    *,
    user_id: UserId,
    clock: Clock,
    ids: IdFactory,
    templates: Sequence[WrittenTemplate] = (),
    declared_gateways: Sequence[DeclaredGateway] | None = None,
    declared_connectors: Sequence[DeclaredConnector] | None = None,
    force: bool = True,
    entries: Sequence[AuditEntry] = (),
    most_per_user: int | None = None,
    node_id: NodeId | None = None,
    also: Callable[[Connection], None] | None = None,
) -> Reconciled:
    """Update the rows to match all declarations, in one transaction.

    Args:
        declared_gateways, declared_connectors: None to leave them unchanged.
        force: True to put agents that violate their template into the error state; False to refuse.
        entries: audit entries, written in the same transaction.
        most_per_user: limit on the agents of a user; None: not checked.
        node_id: node with the declarations; what other nodes on a shared database declare stays.
        also: further writes of the transaction.

    Raises:
        NameTaken: a name is used by an agent created over the API.
        TooManyDeclared: a user would have too many agents.
        UnknownTemplate, CodedError, WouldBreak, RemoteIdTaken, UnknownConnector: see
            ``declaring.take_up``.

    If an error is raised, nothing was changed.
    """
    at = now_ms(clock)
    named = [agent.user_name for agent in declared if agent.user_name is not None]
    named += [gateway.user_name for gateway in declared_gateways or ()]
    named += [connector.user_name for connector in declared_connectors or ()]
    for name in await store.read(users.not_made_yet, named):
        log.warning("user.named_first", user=name)
    count = declared_agents.IDS_PER_AGENT * len(declared) + len(templates)
    count += gateways.IDS_PER_GATEWAY * len(declared_gateways or ())
    count += connectors.IDS_PER_CONNECTOR * len(declared_connectors or ())
    fresh = [ids.fresh() for _ in range(count)]
    taken_up = await store.write(
        declaring.apply_declarations,
        user_id=user_id,
        declared=list(declared),
        at=at,
        fresh_ids=fresh,
        templates=list(templates),
        declared_gateways=declared_gateways,
        declared_connectors=declared_connectors,
        check=problems_of,
        force=force,
        entries=entries,
        most_per_user=most_per_user,
        node_id=node_id if store.is_shared else None,
        also=also,
    )
    learn_names(await store.read(agents.names_of_agents))
    done = taken_up.agents
    log.info(
        "agents.reconciled",
        created=len(done.created),
        updated=len(done.updated),
        revived=len(done.revived),
        archived=len(done.archived),
    )
    if taken_up.gateways is not None:
        log.info("gateways.reconciled", **_counted(taken_up.gateways))
    if taken_up.connectors is not None:
        log.info("connectors.reconciled", **_counted(taken_up.connectors))
    for put in taken_up.templates:
        log.info("template.declared", template=put.template.name, version=put.template.version)
    for template in taken_up.let_go:
        log.info("template.let_go", template=template.name)
    for broken in taken_up.broken:
        log.warning("agent.broken", agent_id=broken.agent_id, reason="; ".join(broken.wrong))
    for run_id in taken_up.followed:
        log.info("run.followed", run_id=run_id)
    for run_id in taken_up.orphaned:
        log.info("run.orphaned", run_id=run_id)
    for happened, names in (
        ("created", done.created),
        ("updated", done.updated),
        ("revived", done.revived),
        ("archived", done.archived),
    ):
        for name in names:
            await store.write(
                audit.record,
                id=ids.fresh(),
                at=at,
                event_type=f"agent.{happened}",
                message=f"Agent {name} was {happened} from hub.toml",
                actor=declaring.ACTOR,
            )
    return done


def _counted(found: msgspec.Struct) -> dict[str, int]:
    return {how: len(names) for how, names in msgspec.structs.asdict(found).items()}
