"""Muted issues: which, until when, and how many may be muted."""

from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from storage import audit
from storage.kernel.columns import Int, columns_of, struct_from
from storage.schema import issue_mutes

MAX_MUTES: Final = 1_000


class IssueMute(msgspec.Struct, frozen=True):
    """Mute of the issue with this key. *ends_at*: None: until it is ended by a person."""

    key: str
    user_id: UserId | None
    reason: str
    actor: str
    muted_at: int
    ends_at: int | None


MUTES: Final = (
    sa.select(*columns_of(IssueMute, issue_mutes))
    .where(sa.or_(issue_mutes.c.ends_at.is_(None), issue_mutes.c.ends_at > sa.bindparam("now", type_=Int)))
    .order_by(issue_mutes.c.key)
)
_of_issue: Final = issue_mutes.c.key == sa.bindparam("of")


def list_mutes(c: sa.Connection, now: int) -> dict[str, IssueMute]:
    """Return the mutes that have not ended, by their keys."""
    return {row.key: struct_from(IssueMute, row) for row in c.execute(MUTES, {"now": now})}


def mute(c: sa.Connection, new: IssueMute) -> None:
    """Write a mute, in place of the one before, with its audit entry. Raises CodedError."""
    c.execute(sa.delete(issue_mutes).where(_of_issue), {"of": new.key})
    if c.execute(sa.select(sa.func.count()).select_from(issue_mutes)).scalar_one() >= MAX_MUTES:
        raise CodedError(
            ErrorCode.LIMIT_REACHED,
            f"{MAX_MUTES} issues are muted already; hub issues ls --muted lists them",
        )
    c.execute(sa.insert(issue_mutes), msgspec.structs.asdict(new))
    detail = {"reason": new.reason, "ends_at": new.ends_at}
    audit.append(c, at=new.muted_at, actor=new.actor, event="issue.muted", subject=new.key, detail=detail)


def unmute(c: sa.Connection, key: str, *, at: int, actor: str) -> bool:
    """End a mute, with its audit entry. Return False if there is none."""
    if c.execute(sa.delete(issue_mutes).where(_of_issue), {"of": key}).rowcount == 0:
        return False
    audit.append(c, at=at, actor=actor, event="issue.unmuted", subject=key)
    return True
