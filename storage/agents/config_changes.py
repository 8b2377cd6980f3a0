"""Changes of an agent's typed configs, all keys or none, the last 1,000 remembered; and changes of templates.

Each change of a value is recorded with the value before, so that it can be reverted. The last ``REMEMBERED``
changes of an agent are stored, fewer if their values are long.

Changes of templates, and their effect on the agents with that template.

A change is validated for every agent with the template, in the transaction that makes it. A change that would
break an agent is refused. With *force* it is applied: those agents are then in error, with the reason, until
their set-up is corrected.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from protocol.configs import BadConfig, ConfigType, check_key, text_of, type_of, value_in
from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId, TemplateId
from storage.agents import agent_snapshot, state_moves
from storage.agents.agent_snapshot import Check, Setup, TemplateRow, WrittenTemplate, keep_templates
from storage.agents.capabilities import FILE
from storage.agents.configs import LAST_MOVE, ConfigRow, list_configs, moves_after
from storage.kernel.columns import isolating_broken_row, values_of
from storage.schema import agent_config_history, agent_configs, agent_templates, agents
from storage.schema import agent_states as states

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
    old = agent_snapshot.find_template(c, written.name)
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
    agent_snapshot.change_alone(c)
    old = agent_snapshot.find_template(c, written.name)
    if old is not None and old.source == "file":
        raise TemplateOfFile(f"template {written.name!r} is managed by hub.toml")
    if version is not None and version != (0 if old is None else old.version):
        raise CodedError(ErrorCode.CHANGED_MEANWHILE, f"template {written.name!r} changed since it was read")
    if old is None and most is not None and c.execute(agent_snapshot.COUNT).scalar_one() >= most:
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
    agent_snapshot.change_alone(c)
    old = agent_snapshot.get_template(c, name)
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
            agent_snapshot.find_template(c, one.name),
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
        for template in agent_snapshot.list_templates(c)
        if template.source == "file" and template.name not in named and not is_elsewhere(template.name)
    ]
    used = agent_snapshot.uses_of_templates(c)
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
        return TemplateWrite(agent_snapshot.get_template(c, written.name), is_new=True, is_changed=True)
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
    return TemplateWrite(agent_snapshot.get_template(c, written.name), is_changed=True, agents=made)


API = "api"
DESCRIPTION_CHARACTERS = 4_096
REMEMBERED = 1_000  # changes of one agent that are kept, each with the values before and after
REMEMBERED_CHARACTERS = 2 * 1024 * 1024  # of these values: an agent that changes much forgets sooner

# Validates the configuration that the agent would have; raises if it is invalid.
ConfigCheck: TypeAlias = Callable[[sa.Connection, AgentId, Mapping[str, Any]], None]


class ConfigOfFile(HubError):
    """Error: hub.toml declares the config, at *where*; nothing was written."""

    code = ErrorCode.MANAGED_BY_FILE

    def __init__(self, key: str, where: str = "hub.toml") -> None:
        super().__init__(f"config {key!r} is managed by {where}")
        self.key = key


class ConfigLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of an agent's configs of the API: keys, bytes of one value, bytes of all keys and values."""

    keys: int = 256
    value_bytes: int = 64 * 1024
    total_bytes: int = 256 * 1024


class NewConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Requested config.

    Attributes:
        type: by default the current type; for a new config that of its value.
        description: by default the current description.
    """

    key: str
    value: Any
    type: ConfigType | None = None
    description: str | UnsetType | None = UNSET


class ConfigsChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a change. *rev*: the agent's new ``config_rev``; *keys* may be empty."""

    agent_id: AgentId
    rev: int
    keys: tuple[str, ...]


_moves = agent_config_history.c
_values = sum(sa.func.length(sa.func.coalesce(value, "")) for value in (_moves.old_value, _moves.new_value))
_newest = (
    sa.select(_moves.seq, sa.func.sum(_values).over(order_by=_moves.seq.desc()).label("characters"))
    .where(_moves.agent_id == sa.bindparam("agent"))
    .subquery()
)
FORGET_MOVES = sa.delete(agent_config_history).where(
    _moves.agent_id == sa.bindparam("agent"),
    sa.or_(
        _moves.seq <= sa.bindparam("oldest"),
        _moves.seq
        <= sa.select(sa.func.max(_newest.c.seq))
        .where(_newest.c.characters > sa.bindparam("characters"))
        .scalar_subquery(),
    ),
)


def change(
    c: sa.Connection,
    agent_id: AgentId,
    puts: Sequence[NewConfig] = (),
    *,
    drops: Collection[str] = (),
    replaces: bool = False,
    at: int,
    actor: str,
    expected_rev: int | None = None,
    limits: ConfigLimits | None = None,
    check: ConfigCheck | None = None,
) -> ConfigsChanged:
    """Write and delete configs over the API, all or none.

    Args:
        drops: keys to delete, which must exist.
        replaces: also delete configs that are not in *puts*, except those that hub.toml declares.
        expected_rev: refuse if the agent's ``config_rev`` differs.
        limits: by default none.
        check: validates the whole configuration before it is written.

    Raises:
        CodedError, ConfigOfFile, LimitReached, BadConfig, and errors of
            *check*: nothing was written.
    """
    if check is not None:
        keep_templates(c)
    rev = lock_revision(c, agent_id)
    if expected_rev is not None and rev != expected_rev:
        raise CodedError(
            ErrorCode.CHANGED_MEANWHILE,
            f"the configuration is at revision {rev} by now, not {expected_rev}; read it again",
        )
    old = {row.key: row for row in list_configs(c, agent_id)}
    new = _updated_configs(old, puts, API, at)
    for key in drops:
        if key not in old:
            raise CodedError(ErrorCode.UNKNOWN_CONFIG, f"the agent has no config {key!r}")
        new.pop(key, None)
    if replaces:
        written = {put.key for put in puts}
        new = {key: row for key, row in new.items() if key in written or row.source == FILE}
    for key, row in old.items():
        if row.source == FILE and new.get(key) != row:
            raise ConfigOfFile(key)
    if limits is not None:
        _keep_within(limits, [row for key, row in new.items() if old.get(key) != row], new)
    return _write(c, agent_id, rev, old, new, at=at, actor=actor, check=check)


def revert(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    to: int,
    at: int,
    actor: str,
    expected_rev: int | None = None,
    limits: ConfigLimits | None = None,
    check: ConfigCheck | None = None,
) -> ConfigsChanged:
    """Restore the configs to their values after change number *to*; 0: before the first change.

    Configs that hub.toml declares are left unchanged.

    Raises:
        CodedError (UNKNOWN_CONFIG): the change does not exist, or later changes are no longer stored.
        CodedError, LimitReached, BadConfig, and errors of *check*: see ``change``.
    """
    if check is not None:
        keep_templates(c)
    lock_revision(c, agent_id)  # before reading the history, which must not change meanwhile
    moves = moves_after(c, agent_id, to)
    last = c.execute(LAST_MOVE, {"agent": agent_id}).scalar_one()
    if to < 0 or to > last or len(moves) != last - to:
        raise CodedError(
            ErrorCode.UNKNOWN_CONFIG,
            f"the configs of the agent cannot go back to change {to}: it is not remembered",
        )
    before = {move.key: move for move in moves}  # the oldest change wins: it comes last
    now = {row.key: row for row in list_configs(c, agent_id)}
    mine = [move for key, move in before.items() if (row := now.get(key)) is None or row.source != FILE]
    puts = [
        NewConfig(key=move.key, type=move.old_type, value=value_in(move.old_type, move.old_text))
        for move in mine
        if move.old_type is not None and move.old_text is not None
    ]
    drops = [move.key for move in mine if move.old_type is None and move.key in now]
    return change(
        c,
        agent_id,
        puts,
        drops=drops,
        at=at,
        actor=actor,
        expected_rev=expected_rev,
        limits=limits,
        check=check,
    )


def declare(
    c: sa.Connection,
    agent_id: AgentId,
    puts: Sequence[NewConfig],
    *,
    at: int,
    actor: str,
    check: ConfigCheck | None = None,
) -> ConfigsChanged:
    """Replace the agent's configs of hub.toml by *puts*; configs of the API stay.

    Raises:
        CodedError, BadConfig, and errors of *check*: nothing was written.
    """
    rev = lock_revision(c, agent_id)
    old = {row.key: row for row in list_configs(c, agent_id)}
    declared = {put.key for put in puts}
    stay = {key: row for key, row in old.items() if row.source != FILE or key in declared}
    return _write(
        c, agent_id, rev, old, _updated_configs(stay, puts, FILE, at), at=at, actor=actor, check=check
    )


def _updated_configs(
    old: Mapping[str, ConfigRow], puts: Sequence[NewConfig], source: str, at: int
) -> dict[str, ConfigRow]:
    """Return *old* updated with *puts*; an unchanged config keeps its row.

    Raises:
        BadConfig: a key or value is invalid.
    """
    new = dict(old)
    for put in puts:
        before = old.get(check_key(put.key))
        row = ConfigRow(
            key=put.key,
            type=(type := put.type or (type_of(put.value) if before is None else before.type)),
            text=_text(put, type, retains_type=put.type is None and before is not None),
            description=_description(put, before),
            # A config that hub.toml declares and the API repeats stays the file's.
            source=FILE if before is not None and before.source == FILE else source,
            created_at=at if before is None else before.created_at,
            updated_at=at,
        )
        if before is None or msgspec.structs.replace(row, updated_at=before.updated_at) != before:
            new[put.key] = row
    return new


def _text(put: NewConfig, type: ConfigType, *, retains_type: bool) -> str:
    try:
        return text_of(put.key, type, put.value)
    except BadConfig as exc:
        if retains_type and type_of(put.value) != type:
            raise BadConfig(put.key, f"{exc.problem}; give a type to change that which it has") from None
        raise


def _description(put: NewConfig, before: ConfigRow | None) -> str | None:
    if put.description is UNSET:
        return None if before is None else before.description
    if put.description is not None:
        text_of(f"{put.key}.description", ConfigType.STRING, put.description)
        if len(put.description) > DESCRIPTION_CHARACTERS:
            raise BadConfig(put.key, f"a description has at most {DESCRIPTION_CHARACTERS} characters")
    return put.description


def _keep_within(limits: ConfigLimits, changed: Sequence[ConfigRow], new: Mapping[str, ConfigRow]) -> None:
    for row in changed:
        if (size := len(row.text.encode())) > limits.value_bytes:
            message = f"{row.key}: a value has at most {limits.value_bytes} bytes, this one {size}"
            raise LimitReached(message, limit="config_value_bytes")
    of_api = [row for row in new.values() if row.source != FILE]
    if changed and len(of_api) > limits.keys:
        message = f"an agent has at most {limits.keys} configs, this would be {len(of_api)}"
        raise LimitReached(message, limit="config_keys")
    total = sum(len(row.key) + len(msgspec.json.encode(row.text)) for row in of_api)
    if changed and total > limits.total_bytes:
        message = f"the configs of an agent have at most {limits.total_bytes} bytes together, these {total}"
        raise LimitReached(message, limit="config_bytes")


def _write(
    c: sa.Connection,
    agent_id: AgentId,
    rev: int,
    old: Mapping[str, ConfigRow],
    new: Mapping[str, ConfigRow],
    *,
    at: int,
    actor: str,
    check: ConfigCheck | None,
) -> ConfigsChanged:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if not keys:
        return ConfigsChanged(agent_id=agent_id, rev=rev, keys=())
    if check is not None:
        check(c, agent_id, {key: row.value for key, row in new.items()})
    seq = c.execute(LAST_MOVE, {"agent": agent_id}).scalar_one()
    for key in keys:
        before, after = old.get(key), new.get(key)
        _write_one(c, agent_id, key, before, after)
        if _typed_value(before) == _typed_value(after):
            continue  # only its description or source changed
        seq += 1
        move = {
            "agent_id": agent_id,
            "seq": seq,
            "config_key": key,
            "old_type": None if before is None else before.type,
            "old_value": None if before is None else before.text,
            "new_type": None if after is None else after.type,
            "new_value": None if after is None else after.text,
            "actor": actor,
            "at": at,
        }
        c.execute(sa.insert(agent_config_history), move)
    written = {"oldest": seq - REMEMBERED, "characters": REMEMBERED_CHARACTERS}
    c.execute(FORGET_MOVES, {"agent": agent_id, **written})
    c.execute(
        sa.update(agents)
        .where(agents.c.id == agent_id)
        .values(config_rev=agents.c.config_rev + 1, updated_at=at)
    )
    if check is not None:  # the check passed, so an error for invalid configs is over
        put_in_error(c, (), [agent_id], at=at, actor=actor)
    return ConfigsChanged(agent_id=agent_id, rev=rev + 1, keys=tuple(keys))


def _write_one(
    c: sa.Connection, agent_id: AgentId, key: str, before: ConfigRow | None, after: ConfigRow | None
) -> None:
    is_this = sa.and_(agent_configs.c.agent_id == agent_id, agent_configs.c.config_key == key)
    if after is None:
        c.execute(sa.delete(agent_configs).where(is_this))
    elif before is None:
        own = {"agent_id": agent_id, "config_key": key}
        row = values_of(after, agent_configs, config_type=after.type, config_value=after.text, **own)
        c.execute(sa.insert(agent_configs), row)
    else:
        changed = {"description": after.description, "source": after.source, "updated_at": after.updated_at}
        changed |= {"config_type": after.type, "config_value": after.text}
        c.execute(sa.update(agent_configs).where(is_this).values(changed))


def lock_revision(c: sa.Connection, agent_id: AgentId) -> int:
    """Lock the agent's revision until the transaction ends, and return it.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
    """
    rev = c.execute(
        sa.select(agents.c.config_rev).where(agents.c.id == agent_id).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if rev is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    return int(rev)


def _typed_value(row: ConfigRow | None) -> tuple[ConfigType, str] | None:
    return None if row is None else (row.type, row.text)
