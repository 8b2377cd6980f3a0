"""Changes of templates: refused if they break an agent, or forced; effect on its agents.

A change is validated for every agent with the template, in the transaction that makes it. A change that would
break an agent is refused. With *force* it is applied: those agents are then in error, with the reason, until
their set-up is corrected.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, TemplateId
from storage.agents import agent_snapshot, state_moves, templates
from storage.agents.agent_snapshot import Check, Setup
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.kernel.columns import isolating_broken_row
from storage.schema import agent_states as states
from storage.schema import agent_templates, agents

SET_UP_WRONG: Final = "not set up right: "  # prefix of the reason of an agent that is in error for its set-up
RIGHT_AGAIN: Final = "set up right again"
MAX_NAMED: Final = 10  # agents in one refusal


class Broken(msgspec.Struct, frozen=True):
    """Agent whose set-up a change makes invalid; *wrong*: the problems, in words."""

    agent_id: AgentId
    name: str
    user: str
    wrong: tuple[str, ...]

    @property
    def text(self) -> str:
        """Problems as a sentence."""
        return f"agent {self.name}: {'; '.join(self.wrong)}"


class WouldBreak(HubError):
    """Error: agents would violate their template; the message names each. Nothing was written."""

    code = ErrorCode.BAD_CONFIG
    hint = "set those agents right first, or insist with force: they are in error then; nothing was changed"

    def __init__(self, broken: Sequence[Broken]) -> None:
        more = len(broken) - MAX_NAMED
        parts = [agent.text for agent in broken[:MAX_NAMED]] + (
            [f"and {more} more agents"] if more > 0 else []
        )
        super().__init__("; ".join(parts))
        self.broken = tuple(broken)


class TemplateOfFile(HubError):
    """Error: hub.toml declares the template; it is changed there. Nothing was written."""

    code = ErrorCode.MANAGED_BY_FILE


class TemplateWrite(msgspec.Struct, frozen=True):
    """Result of writing a template.

    Attributes:
        agents: all agents with the template, if their configuration or prompt may have changed.
        broken: agents that are now in error.
    """

    template: TemplateRow
    is_new: bool = False
    is_changed: bool = False
    agents: tuple[AgentId, ...] = ()
    broken: tuple[Broken, ...] = ()


DELETE_TEMPLATE = sa.delete(agent_templates).where(agent_templates.c.id == sa.bindparam("template"))


def judge(c: sa.Connection, written: WrittenTemplate, check: Check) -> list[Broken]:
    """Return the agents that *written* would break as their template; nothing is written."""
    old = templates.find_template(c, written.name)
    if old is None:
        return []
    new = msgspec.structs.replace(old, **msgspec.structs.asdict(written))
    found = agent_snapshot.setups_with(c, old.id)
    return broken_among({id: msgspec.structs.replace(one, template=new) for id, one in found.items()}, check)


def broken_among(found: Mapping[AgentId, Setup], check: Check) -> list[Broken]:
    """Return the agents with an invalid set-up."""
    judged = ((id, one, tuple(check(one))) for id, one in found.items())
    return [Broken(id, one.name, one.user, wrong) for id, one, wrong in judged if wrong]


def put_template(
    c: sa.Connection,
    written: WrittenTemplate,
    *,
    fresh_id: TemplateId,
    at: int,
    actor: str,
    check: Check,
    force: bool = False,
    version: int | None = None,
    most: int | None = None,
) -> TemplateWrite:
    """Write a template of the API, new or in place of the existing one with that name.

    Args:
        check: returns the problems of an agent's set-up.
        force: write the template even if agents break; they are put in error.
        version: version that the writer has read; None: any.
        most: maximum number of templates.

    Raises:
        TemplateOfFile, CodedError, WouldBreak: nothing was written.
    """
    templates.change_alone(c)
    old = templates.find_template(c, written.name)
    if old is not None and old.source == "file":
        raise TemplateOfFile(f"template {written.name!r} is managed by hub.toml")
    if version is not None and version != (0 if old is None else old.version):
        raise CodedError(ErrorCode.CHANGED_MEANWHILE, f"template {written.name!r} changed since it was read")
    if old is None and most is not None and c.execute(templates.COUNT).scalar_one() >= most:
        raise CodedError(
            ErrorCode.LIMIT_REACHED, f"there are {most} templates already (templates)", limit="templates"
        )
    broken = judge(c, written, check)
    if broken and not force:
        raise WouldBreak(broken)
    done = _template_change_write(c, old, written, fresh_id=fresh_id, source="api", at=at)
    if done.is_changed:
        put_in_error(c, broken, done.agents, at=at, actor=actor)
    return msgspec.structs.replace(done, broken=tuple(broken))


def remove_template(c: sa.Connection, name: str) -> TemplateRow:
    """Remove a template of the API that no agent uses, apart from archived agents.

    Raises:
        UnknownTemplate, TemplateOfFile, CodedError: nothing was written.
    """
    templates.change_alone(c)
    old = templates.get_template(c, name)
    if old.source == "file":
        raise TemplateOfFile(f"template {name!r} is managed by hub.toml")
    if users := agent_snapshot.setups_with(c, old.id):
        named = ", ".join([user.name for user in users.values()][:MAX_NAMED])
        more = f" and {len(users) - MAX_NAMED} more" if len(users) > MAX_NAMED else ""
        raise CodedError(ErrorCode.TEMPLATE_IN_USE, f"template {name!r} is used by {named}{more}")
    c.execute(DELETE_TEMPLATE, {"template": old.id})
    return old


def reconcile_templates(
    c: sa.Connection, declared: Sequence[WrittenTemplate], *, fresh_ids: Sequence[str], at: int
) -> list[TemplateWrite]:
    """Make the templates of source ``file`` match the declarations. Return the new and changed ones.

    The file takes over a template of the API with a declared name. Agents are not validated here: those of
    the file follow in the same transaction, see ``settle``.
    """
    done = [
        _template_change_write(
            c,
            templates.find_template(c, one.name),
            one,
            fresh_id=TemplateId(fresh),
            source="file",
            at=at,
        )
        for one, fresh in zip(declared, fresh_ids, strict=True)
    ]
    return [put for put in done if put.is_changed]


def release_templates(
    c: sa.Connection,
    declared: Iterable[str],
    *,
    at: int,
    is_elsewhere: Callable[[str], bool] = lambda name: False,
) -> list[TemplateRow]:
    """Remove the templates that the file no longer declares. Return them.

    A template that agents still use becomes a template of the API: deleting a line of the file loses nothing.

    Args:
        is_elsewhere: returns True for a template that stays although it is not declared.
    """
    named = set(declared)
    undeclared = [
        template
        for template in templates.list_templates(c)
        if template.source == "file" and template.name not in named and not is_elsewhere(template.name)
    ]
    used = templates.uses_of_templates(c)
    for released in undeclared:
        if released.id in used:
            _template_change_write(c, released, released.written, fresh_id=released.id, source="api", at=at)
        else:
            c.execute(DELETE_TEMPLATE, {"template": released.id})
    return undeclared


def settle(c: sa.Connection, check: Check, *, at: int, actor: str, force: bool) -> list[Broken]:
    """Validate every agent with a template or a prompt with variables, and clear corrected errors.

    Args:
        force: put agents with an invalid set-up in error; otherwise refuse.

    Raises:
        WouldBreak: the caller must roll back.
    """
    broken = broken_among(agent_snapshot.setups_to_judge(c), check)
    if broken and not force:
        raise WouldBreak(broken)
    put_in_error(c, broken, None, at=at, actor=actor)
    return broken


def put_in_error(
    c: sa.Connection, broken: Sequence[Broken], judged: Iterable[AgentId] | None, *, at: int, actor: str
) -> None:
    """Put *broken* agents in error. Clear that error of the *judged* agents that are valid again.

    Args:
        judged: validated agents; None: all agents.
    """
    wrong = {agent.agent_id: agent for agent in broken}
    for agent in broken:
        text = f"{SET_UP_WRONG}{'; '.join(agent.wrong)}"
        with isolating_broken_row(c):
            state_moves.move(c, agent.agent_id, "health", "error", at=at, actor=actor, reason=text)
    query = (
        sa.select(states.c.agent_id)
        .join_from(states, agents, agents.c.id == states.c.agent_id)
        .where(states.c.health == "error", states.c.health_reason.like(f"{SET_UP_WRONG}%"))
    )
    were_wrong = {AgentId(id) for id in c.execute(query).scalars()}
    healed = were_wrong if judged is None else were_wrong.intersection(judged)
    for agent_id in sorted(healed - wrong.keys()):
        with isolating_broken_row(c):
            state_moves.move(c, agent_id, "health", "ok", at=at, actor=actor, reason=RIGHT_AGAIN)


def _template_change_write(
    c: sa.Connection,
    old: TemplateRow | None,
    written: WrittenTemplate,
    *,
    fresh_id: TemplateId,
    source: str,
    at: int,
) -> TemplateWrite:
    about = msgspec.structs.asdict(written)
    if old is None:
        row = about | {"id": fresh_id, "source": source, "created_at": at, "updated_at": at}
        c.execute(sa.insert(agent_templates), row)
        return TemplateWrite(templates.get_template(c, written.name), is_new=True, is_changed=True)
    if (old.written, old.source) == (written, source):
        return TemplateWrite(old)
    new = about | {"source": source, "version": agent_templates.c.version + 1, "updated_at": at}
    c.execute(sa.update(agent_templates).where(agent_templates.c.id == old.id).values(new))
    made = tuple(agent_snapshot.setups_with(c, old.id))
    if (old.default_configuration, old.prompt_template) != (
        written.default_configuration,
        written.prompt_template,
    ):
        c.execute(
            sa.update(agents)
            .where(agents.c.template_id == old.id, agents.c.deleted_at.is_(None))
            .values(config_rev=agents.c.config_rev + 1, updated_at=at)
        )
    return TemplateWrite(templates.get_template(c, written.name), is_changed=True, agents=made)
