"""Tokens of devices, operators and agents, and invitations: creation, limits, expiry, revocation.

This module does not know what a role may do: roles and scopes are plain text here.
"""

from collections.abc import Callable, Collection
from typing import Any, Final, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError, connect_command
from protocol.grants import NO_LIMITS, TokenLimits
from protocol.ids import AgentId, DeviceId, InvitationId, TokenId, UserId
from storage import audit
from storage.devices import devices as all_devices
from storage.devices.devices import DeviceRow
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    paged,
    readable,
    struct_from,
    struct_or_none,
    whole_id,
)
from storage.schema import (
    agent_states,
    agent_tokens,
    agents,
    assistant_grants,
    device_keys,
    device_tokens,
    devices,
    invitations,
    operator_tokens,
    users,
)

DAY_MS: Final = 86_400_000
RowT = TypeVar("RowT", bound=msgspec.Struct)


class TokenStatements(Generic[RowT]):
    """Statements about the tokens of one kind.

    Args:
        table: their table, with the columns that all kinds have.
        row: struct of a token.
        query: selects a column for each field of *row*.
        event: kind of token in names of audit events, as in ``agent_token.created``.
        detail: details of a created token in the audit log.
        is_usable: condition of a valid token besides its revocation and expiry.
        retention_ms: time between a token's end and its deletion, so that late requests learn the reason.
    """

    def __init__(
        self,
        table: sa.Table,
        row: type[RowT],
        query: sa.Select[Any],
        *,
        event: str,
        detail: Callable[[Any], audit.Detail],
        is_usable: sa.ColumnElement[bool] | None = None,
        retention_ms: int = 30 * DAY_MS,
    ) -> None:
        self._table = table
        self._row = row
        self._query = query
        self._event = event
        self._detail = detail
        self._is_usable = sa.true() if is_usable is None else is_usable
        self.retention_ms = retention_ms
        self.of_hash = query.where(table.c.token_hash == sa.bindparam("hash"))
        self._of_hashes = query.add_columns(table.c.token_hash.label("hash")).where(
            table.c.token_hash.in_(sa.bindparam("hashes", expanding=True))
        )

    def create(
        self,
        c: sa.Connection,
        /,
        *,
        id: str,
        token_hash: bytes,
        at: int,
        expires_at: int | None = None,
        last4: str | None = None,
        actor: str = "hub",
        **columns: Any,
    ) -> RowT:
        """Create a token, valid until *expires_at*; delete those that ended *retention_ms* ago.

        Args:
            token_hash: SHA-256 of the token.
            last4: last four characters, so that its owner can identify it.
            columns: the columns that only this kind has.

        Raises:
            Conflict: the owner does not exist, or the hash is known already.
        """
        table = self._table
        until = at - self.retention_ms
        has_expired = sa.and_(table.c.revoked_at.is_(None), table.c.expires_at <= until)
        c.execute(sa.delete(table).where(sa.or_(table.c.revoked_at <= until, has_expired)))
        row = {"id": id, "token_hash": token_hash, "last4": last4, "created_by": actor, "created_at": at}
        c.execute(sa.insert(table), row | columns | {"expires_at": expires_at})
        made = struct_from(self._row, c.execute(self._query.where(table.c.id == id)).one())
        event = f"{self._event}.created"
        audit.append(c, at=at, actor=actor, event=event, subject=id, detail=self._detail(made))
        return made

    def find(self, c: sa.Connection, token_hash: bytes) -> RowT | None:
        """Return the token with this SHA-256; the caller checks whether it is valid."""
        return struct_or_none(self._row, c.execute(self.of_hash, {"hash": token_hash}).one_or_none())

    def find_all(self, c: sa.Connection, hashes: Collection[bytes]) -> dict[bytes, RowT]:
        """Return those of the tokens with these SHA-256 that exist, by hash; at most one IN list."""
        found = c.execute(self._of_hashes, {"hashes": list(hashes)})
        return dict(readable(lambda row: (row.hash, struct_from(self._row, row)), found))

    def find_by_id(self, c: sa.Connection, id: str) -> RowT | None:
        """Return the token with that id, valid or not."""
        found = c.execute(self._query.where(self._table.c.id == id)).one_or_none()
        return struct_or_none(self._row, found)

    def find_by_end(self, c: sa.Connection, id: str, user_id: str | None) -> RowT | None:
        """Return the token with that id, or whose id ends so (``whole_id``), of the user; None: of any."""
        key, of_user = self._table.c.id, self._of({"user_id": user_id})
        ids = sa.select(of_user.subquery().c.id)
        whole = whole_id(c, self._table, id, only=[] if user_id is None else [key.in_(ids)])
        return struct_or_none(self._row, c.execute(of_user.where(key == whole)).one_or_none())

    def page(
        self,
        c: sa.Connection,
        /,
        *,
        limit: int | None = None,
        after: Key | None = None,
        **owner: str | None,
    ) -> list[RowT]:
        """Return tokens, also those that are not valid any more, oldest first.

        Args:
            owner: fields that the tokens share, as ``user_id``; ``None``: any value.
        """
        table = self._table.c
        query = paged(self._of(owner), table.created_at, table.id, limit=limit, after=after)
        return fetch_page(c, self._row, query, limit)

    def ending_or_unused(
        self, c: sa.Connection, /, *, ends_after: int, ends_by: int, unused_since: int, limit: int = 200
    ) -> list[RowT]:
        """Return tokens that are not revoked and end between two instants, or were not used since a third."""
        table = self._table.c
        is_ending = table.expires_at.between(ends_after, ends_by)
        is_unused = sa.and_(
            sa.or_(table.expires_at.is_(None), table.expires_at > ends_by),
            sa.func.coalesce(table.last_used_at, table.created_at) < unused_since,
        )
        query = self._query.where(table.revoked_at.is_(None), sa.or_(is_ending, is_unused))
        return fetch_page(c, self._row, query.order_by(table.created_at, table.id), limit)

    def count(self, c: sa.Connection, at: int, /, **owner: str | None) -> int:
        """Return the number of valid tokens; see ``page`` about *owner*."""
        table = self._table.c
        valid = self._of(owner).where(
            self._is_usable,
            table.revoked_at.is_(None),
            sa.or_(table.expires_at.is_(None), table.expires_at > at),
        )
        return int(c.execute(sa.select(sa.func.count()).select_from(valid.subquery())).scalar_one())

    def revoke(self, c: sa.Connection, id: str, *, at: int, actor: str) -> bool:
        """Revoke the token. Return True if it was not revoked before."""
        valid = sa.update(self._table).where(self._table.c.id == id, self._table.c.revoked_at.is_(None))
        revoked = c.execute(valid.values(revoked_at=at)).rowcount > 0
        if revoked:
            audit.append(c, at=at, actor=actor, event=f"{self._event}.revoked", subject=id)
        return revoked

    def use(self, c: sa.Connection, id: str, at: int) -> bool:
        """Record the time of the token's last use. Return False if the token was revoked."""
        valid = sa.update(self._table).where(self._table.c.id == id, self._table.c.revoked_at.is_(None))
        return c.execute(valid.values(last_used_at=at)).rowcount > 0

    def _of(self, owner: dict[str, str | None]) -> sa.Select[Any]:
        fields = self._query.selected_columns
        return self._query.where(*(fields[name] == id for name, id in owner.items() if id is not None))


class DeviceTokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token of a device, with everything that may invalidate it.

    Attributes:
        last4: its last characters, if known.
        created_by: actor who created it.
    """

    id: TokenId
    device_id: DeviceId
    device_name: str
    device_revoked_at: int | None
    user_id: UserId
    user_name: str
    last4: str | None
    created_by: str | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


DEVICE_TOKENS: Final = TokenStatements(
    device_tokens,
    DeviceTokenRow,
    sa.select(
        *columns_of(
            DeviceTokenRow,
            device_tokens,
            devices,
            device_name=devices.c.name,
            device_revoked_at=devices.c.revoked_at,
            user_name=users.c.name,
        )
    ).select_from(device_tokens.join(devices).join(users)),
    event="token",
    detail=lambda row: {"device": row.device_name, "expires_at": row.expires_at},
)


class TokenFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of tokens of operators and agents, and of sessions of browsers.

    Attributes:
        created_by: actor who created it.
    """

    id: TokenId
    last4: str
    created_by: str
    created_at: int
    expires_at: int
    last_used_at: int | None
    revoked_at: int | None


class OperatorTokenRow(TokenFields, frozen=True, kw_only=True):
    """Token of an operator.

    Attributes:
        role: "viewer", "operator" or "admin".
        scopes: granted subset of the role's scopes; empty with *limits*.
        user_id: user whose devices, agents and runs it may access; ``None``: all users.
        limits: fields of ``TokenLimits``, and the granted ``scopes``: a hub of release 0.2, which knows no
            limits and fewer scopes, gives such a token nothing. ``None``: neither limits nor newer scopes.
        renewed_at: last renewal of the token of an assistant, after which it counts for ``FRESH_MS``;
            ``None``: it is none.
    """

    name: str
    role: str
    scopes: tuple[str, ...]
    user_id: UserId | None
    user_name: str | None
    limits: dict[str, list[str]] | None
    renewed_at: int | None

    @property
    def granted(self) -> Collection[str]:
        """Return the granted scopes."""
        return self.scopes if self.limits is None else self.limits["scopes"]

    @property
    def limited_to(self) -> TokenLimits:
        """Return the limits of the token."""
        return NO_LIMITS if self.limits is None else msgspec.convert(self.limits, TokenLimits)


OPERATOR_TOKENS: Final = TokenStatements(
    operator_tokens,
    OperatorTokenRow,
    sa.select(*columns_of(OperatorTokenRow, operator_tokens, assistant_grants, user_name=users.c.name))
    .join_from(operator_tokens, users, isouter=True)
    .join(assistant_grants, assistant_grants.c.token_id == operator_tokens.c.id, isouter=True),
    event="operator_token",
    detail=lambda row: {
        "name": row.name,
        "role": row.role,
        "scopes": " ".join(row.granted),
        "user": row.user_id,
        **{kind: " ".join(getattr(row.limited_to, kind)) for kind in sorted(row.limited_to.kinds)},
    },
)


class AgentTokenRow(TokenFields, frozen=True, kw_only=True):
    """Token of an agent, which authenticates the agent in its own name.

    Attributes:
        is_removed: the agent is archived or terminated.
    """

    agent_id: AgentId
    agent_name: str
    user_id: UserId
    user_name: str
    is_removed: bool


AGENT_TOKENS: Final = TokenStatements(
    agent_tokens,
    AgentTokenRow,
    sa.select(
        *columns_of(
            AgentTokenRow,
            agent_tokens,
            agents,
            agent_name=agents.c.name,
            user_name=users.c.name,
            is_removed=sa.or_(agents.c.deleted_at.is_not(None), agent_states.c.lifecycle == "terminated"),
        )
    )
    .join_from(agent_tokens, agents, agents.c.id == agent_tokens.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .join(users, users.c.id == agents.c.user_id),
    event="agent_token",
    detail=lambda row: {"agent": row.agent_id},
)


class TooManyAgentTokens(HubError):
    """Error: the agent has the maximum number of valid tokens; no token was created."""

    code = ErrorCode.LIMIT_REACHED


def create_agent_token(
    c: sa.Connection, /, *, agent_id: AgentId, most: int, at: int, **token: Any
) -> AgentTokenRow:
    """Create a token of an agent; see ``TokenStatements.create``.

    Raises:
        CodedError (UNKNOWN_AGENT): the agent does not exist or was removed.
        TooManyAgentTokens: the agent has *most* valid tokens already.
        In each case nothing was written.
    """
    present = sa.select(agents.c.id).where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
    if c.execute(present.with_for_update(key_share=True)).one_or_none() is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    if AGENT_TOKENS.count(c, at, agent_id=agent_id) >= most:
        raise TooManyAgentTokens(f"this agent has {most} tokens that count (agent_tokens_per_agent)")
    return AGENT_TOKENS.create(c, agent_id=agent_id, at=at, **token)


def list_agent_tokens(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[AgentTokenRow]:
    """Return the agent's tokens, also revoked ones, oldest first."""
    return AGENT_TOKENS.page(c, agent_id=agent_id, limit=limit, after=after)


class InvitationRow(msgspec.Struct, frozen=True):
    """Invitation of devices.

    Attributes:
        device_name: name of the only device, known or new, that it admits; ``None``: each device uses the
            name that it reports.
    """

    id: InvitationId
    user_id: UserId
    user_name: str
    device_name: str | None
    uses_left: int
    last4: str
    created_by: str
    created_at: int
    expires_at: int
    revoked_at: int | None


INVITATIONS: Final = TokenStatements(
    invitations,
    InvitationRow,
    sa.select(*columns_of(InvitationRow, invitations, user_name=users.c.name)).join_from(invitations, users),
    event="invitation",
    detail=lambda row: {
        "user": row.user_id,
        "device": row.device_name,
        "uses": row.uses_left,
        "expires_at": row.expires_at,
    },
    is_usable=invitations.c.uses_left > 0,
    retention_ms=7 * DAY_MS,
)


FREE_NAMES = 100  # tried for a device that reports the name of another device


def give_device(
    c: sa.Connection, *, fresh_id: DeviceId, user_id: UserId, name: str, is_chosen: bool, at: int, actor: str
) -> DeviceRow:
    """Return the user's device for a new key: the one of that name, let in again if revoked, or a new one.

    Args:
        is_chosen: a person chose the name, so an existing device is meant, even with valid credentials.
            Otherwise the device reported the name, and gets a device of that name only if that has no valid
            credentials.

    Raises:
        CodedError (NAME_TAKEN): the reported name belongs to a device with valid credentials.
    """
    device = all_devices.admit_device(c, id=fresh_id, user_id=user_id, name=name, at=at, actor=actor)
    if not is_chosen:
        check_free(c, device)
    return device


def check_free(c: sa.Connection, device: DeviceRow) -> None:
    """Check that no key or token of the device is valid; raise CodedError otherwise."""
    if has_way_in(c, device.id):
        raise CodedError(
            ErrorCode.NAME_TAKEN,
            f"another key or token is in use for the device {device.name!r} already",
            hint=f"an older key of the same machine is revoked by: hub devices revoke {device.name};"
            " else choose another name",
        )


def give_free_device(
    c: sa.Connection, *, fresh_id: DeviceId, user_id: UserId, name: str, at: int
) -> DeviceRow:
    """Return a device like ``give_device`` for a reported name; a number is appended to a taken name.

    Raises:
        CodedError (NAME_TAKEN): a device of that name was revoked, or no numbered name was free.
    """
    for number in range(1, FREE_NAMES + 1):
        free = name if number == 1 else f"{name}-{number}"
        device = all_devices.ensure_device(c, id=fresh_id, user_id=user_id, name=free, at=at)
        if device.revoked_at is not None:
            raise CodedError(
                ErrorCode.NAME_TAKEN,
                f"device {free!r} was revoked, and only an invitation of its name lets it in again",
                hint=f"at the hub: hub pair invite --device {free}; a new device needs another name:"
                f" {connect_command()}",
            )
        if not has_way_in(c, device.id):
            return device
    raise CodedError(ErrorCode.NAME_TAKEN, f"there are {FREE_NAMES} devices called {name!r} already")


def has_way_in(c: sa.Connection, device_id: DeviceId) -> bool:
    """Return True if the device has a key or token that was not revoked."""
    query = sa.union_all(
        sa.select(device_keys.c.id).where(
            device_keys.c.device_id == device_id, device_keys.c.revoked_at.is_(None)
        ),
        sa.select(device_tokens.c.id).where(
            device_tokens.c.device_id == device_id, device_tokens.c.revoked_at.is_(None)
        ),
    )
    return c.execute(query).first() is not None
