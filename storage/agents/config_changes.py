"""Changes of agents' configs: all keys or none, revert, and the last 1,000 changes kept.

Each change of a value is recorded with the value before, so that it can be reverted. The last ``REMEMBERED``
changes of an agent are stored, fewer if their values are long.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from protocol.configs import BadConfig, ConfigType, check_key, text_of, type_of, value_in
from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId
from storage.agents.capabilities import FILE
from storage.agents.configs import LAST_MOVE, ConfigRow, list_configs, moves_after
from storage.agents.template_changes import put_in_error
from storage.agents.templates import keep_templates
from storage.kernel.columns import values_of
from storage.schema import agent_config_history, agent_configs, agents

API = "api"
DESCRIPTION_CHARACTERS = 10_000
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
