"""Browser sessions and sign-in links in the database: lifetime, idleness, single use.

A link and the session that it opens are one row: opening replaces the secret of the link by that of the
session, so a link works once. A session ends with the token or the device that it was made with.
"""

from typing import Final

import sqlalchemy as sa

from protocol.ids import DeviceId, TokenId
from storage import audit
from storage.devices.tokens import DAY_MS, OperatorTokenRow, TokenStatements
from storage.kernel.columns import columns_of
from storage.schema import browser_sessions, devices, operator_tokens, users

_TABLE: Final = browser_sessions.c


IDLE_MS: Final = DAY_MS // 2  # without a request a session ends
LONGEST_MS: Final = 7 * DAY_MS  # after this time a session ends, however often it is used


class BrowserSessionRow(OperatorTokenRow, frozen=True, kw_only=True):
    """Session of a browser, or the link that opens it, with the rights of an operator's token.

    Attributes:
        token_id: operator's token that it was made with, if it was.
        device_id: device whose owner it is for, if it was made by one.
        opened_at: ``None``: a link that was not opened yet.
        user_id: as of a token; once others than the owner of *device_id* are users, that owner.
        token_expires_at, token_revoked_at, device_revoked_at: ends of what it was made with.
    """

    token_id: TokenId | None
    device_id: DeviceId | None
    opened_at: int | None
    token_expires_at: int | None
    token_revoked_at: int | None
    device_revoked_at: int | None

    @property
    def ends_at(self) -> int:
        """Return when the session ends, unless it is used or revoked."""
        ends = (self.expires_at, self.token_expires_at, self.token_revoked_at, self.device_revoked_at)
        return min(end for end in ends if end is not None)


_OTHERS: Final = users.alias("others")
_IS_SHARED: Final = sa.exists().where(_OTHERS.c.id != devices.c.user_id).correlate(devices)
_USER: Final = sa.func.coalesce(_TABLE.user_id, sa.case((_IS_SHARED, devices.c.user_id)))
_SESSIONS: Final = (
    sa.select(
        *columns_of(
            BrowserSessionRow,
            browser_sessions,
            user_id=_USER,
            user_name=users.c.name,
            limits=sa.null(),  # a limited token opens none
            renewed_at=sa.null(),
            token_expires_at=operator_tokens.c.expires_at,
            token_revoked_at=operator_tokens.c.revoked_at,
            device_revoked_at=devices.c.revoked_at,
        )
    )
    .join_from(browser_sessions, operator_tokens, _TABLE.token_id == operator_tokens.c.id, isouter=True)
    .join(devices, _TABLE.device_id == devices.c.id, isouter=True)
    .join(users, users.c.id == _USER, isouter=True)
)
SESSIONS: Final = TokenStatements(
    browser_sessions,
    BrowserSessionRow,
    _SESSIONS,
    event="session",
    detail=lambda row: {"role": row.role, "user": row.user_id},
    retention_ms=DAY_MS,
)


def session_of(c: sa.Connection, actor: str) -> BrowserSessionRow | None:
    """Return the session of an actor; None if the actor is no browser, or its session is unknown."""
    kind, _, id = actor.partition(":")
    return SESSIONS.find_by_id(c, TokenId(id)) if kind == "session" else None


def open_link(
    c: sa.Connection, /, id: TokenId, *, token_hash: bytes, last4: str, at: int, actor: str
) -> BrowserSessionRow | None:
    """Turn a link into a session with another secret; ``None``: it was opened, has ended, or is unknown."""
    is_open = sa.and_(_TABLE.opened_at.is_(None), _TABLE.revoked_at.is_(None), _TABLE.expires_at > at)
    values = {
        "token_hash": token_hash,
        "last4": last4,
        "opened_at": at,
        "last_used_at": at,
        "expires_at": at + IDLE_MS,
    }
    opening = sa.update(browser_sessions).where(_TABLE.id == id, is_open).values(values)
    if not c.execute(opening).rowcount:
        return None
    audit.append(c, at=at, actor=actor, event="session.opened", subject=id)
    return SESSIONS.find_by_id(c, id)


def use_session(c: sa.Connection, row: BrowserSessionRow, at: int) -> None:
    """Record the use of a session, which prolongs it."""
    expires_at = min(at + IDLE_MS, (row.opened_at or row.created_at) + LONGEST_MS)
    valid = sa.update(browser_sessions).where(_TABLE.id == row.id, _TABLE.revoked_at.is_(None))
    c.execute(valid.values(last_used_at=at, expires_at=expires_at))
