"""Application of a whole hub.toml to the database in one transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import NodeId, RunId, UserId
from storage import audit
from storage.agents import declared_agents, template_changes
from storage.agents.agent_snapshot import Check
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.template_changes import Broken, TemplateWrite
from storage.agents.templates import TemplateRow, WrittenTemplate, change_alone
from storage.audit import AuditEntry
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, Reconciled
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.effects.node_declarations import OtherDeclarations, declarations_of, declared_elsewhere, record
from storage.runs import run_pauses

ACTOR: Final = "hub.toml"
UNDECLARED: Final = "the agent is no longer declared"


class AppliedDeclarations(msgspec.Struct, frozen=True):
    """Result of applying hub.toml.

    Attributes:
        followed: waiting runs whose agent moved to another device.
        orphaned: waiting runs that were cancelled with their agent.
        templates: new and changed templates.
        let_go: templates that are no longer declared; those in use become templates of the API.
        broken: agents that are now in error because their set-up is invalid.
        gateways, connectors: ``None``: not reconciled.
    """

    agents: Reconciled
    gateways: Reconciled | None = None
    connectors: Reconciled | None = None
    followed: tuple[RunId, ...] = ()
    orphaned: tuple[RunId, ...] = ()
    templates: tuple[TemplateWrite, ...] = ()
    let_go: tuple[TemplateRow, ...] = ()
    broken: tuple[Broken, ...] = ()


def apply_declarations(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
    templates: Sequence[WrittenTemplate] = (),
    declared_gateways: Sequence[DeclaredGateway] | None = None,
    declared_connectors: Sequence[DeclaredConnector] | None = None,
    check: Check = lambda _: (),
    force: bool = True,
    entries: Sequence[AuditEntry] = (),
    most_per_user: int | None = None,
    node_id: NodeId | None = None,
    also: Callable[[sa.Connection], None] | None = None,
) -> AppliedDeclarations:
    """Make templates, agents, gateways and connectors match the declarations, and move their waiting runs.

    See ``reconcile_declared``, ``reconcile_templates``, ``reconcile_gateways``, ``reconcile_connectors``.

    Args:
        declared_gateways, declared_connectors: ``None``: not reconciled.
        fresh_ids: ids for the agents, then one for each template, then those for the gateways, then those for
            the connectors.
        check: returns the problems of an agent's set-up.
        force: put agents with an invalid set-up in error; otherwise refuse.
        entries: audit entries that name the caller.
        most_per_user: limit on the agents of a user; ``None``: not checked.
        node_id: node whose file it is; what other nodes declare stays. ``None``: there are no other nodes.
        also: further writes of the transaction, made first; errors of these are raised too.

    Raises:
        NameTaken: an agent of the API has a declared name.
        TooManyDeclared: a user would have too many agents.
        UnknownTemplate: an agent names a template that does not exist.
        CodedError (NAME_TAKEN): two agents would share an external id.
        WouldBreak: agents would have an invalid set-up.
        RemoteIdTaken: another agent has the remote id of a gateway's declared main agent.
        UnknownConnector: an agent names a connector that its user does not have.
        In each case nothing was written.
    """
    change_alone(c)
    if also is not None:
        also(c)
    elsewhere = OtherDeclarations() if node_id is None else declared_elsewhere(c, node_id)
    for_agents = declared_agents.IDS_PER_AGENT * len(declared)
    changed = template_changes.reconcile_templates(
        c, templates, fresh_ids=fresh_ids[for_agents:][: len(templates)], at=at
    )
    for_templates = for_agents + len(templates)
    for_gateways = for_templates + gateways.IDS_PER_GATEWAY * len(declared_gateways or ())
    reconciled = None
    if declared_gateways is not None:
        reconciled = gateways.reconcile_gateways(
            c,
            owner_id=user_id,
            declared=declared_gateways,
            at=at,
            fresh_ids=fresh_ids[for_templates:],
            is_elsewhere=partial(elsewhere.has, "gateways"),
        )
    accounts = None
    if declared_connectors is not None:  # before the agents, which refer to them
        accounts = connectors.reconcile_connectors(
            c,
            declared=declared_connectors,
            at=at,
            fresh_ids=fresh_ids[for_gateways:],
            is_elsewhere=partial(elsewhere.has, "connectors"),
        )
    done = declared_agents.reconcile_declared(
        c,
        user_id=user_id,
        declared=declared,
        at=at,
        fresh_ids=fresh_ids,
        most_per_user=most_per_user,
        is_elsewhere=elsewhere.has_agent,
    )
    followed = run_pauses.follow_agents(c, at, actor=ACTOR)
    orphaned = run_pauses.cancel_orphans(c, UNDECLARED, at, actor=ACTOR)
    named = {template.name for template in templates}
    stays = partial(elsewhere.has, "templates")
    let_go = template_changes.release_templates(c, named, at=at, is_elsewhere=stays)
    broken = template_changes.settle(c, check, at=at, actor=ACTOR, force=force)
    audit.append_entries(c, entries)
    if node_id is not None:
        ours = declarations_of(declared, templates, declared_gateways or (), declared_connectors or ())
        record(c, node_id, ours)
    return AppliedDeclarations(
        agents=done,
        gateways=reconciled,
        connectors=accounts,
        followed=tuple(followed),
        orphaned=tuple(orphaned),
        templates=tuple(changed),
        let_go=tuple(let_go),
        broken=tuple(broken),
    )
