"""Settings revisions shared by all nodes: publishing, and which node uses which."""

from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import NodeId
from storage import audit
from storage.kernel.columns import Key, columns_of, fetch_page, paged, struct_from, struct_or_none
from storage.kernel.database import lone
from storage.schema import nodes, settings_revisions

REVISIONS: Final = 100  # the newest ones, and those that a node uses


class SettingsRevision(msgspec.Struct, frozen=True):
    """Revision of the shared settings. *text*: None if each node uses its own file alone."""

    number: int
    text: str | None
    actor: str
    at: int


class PublishedMeanwhile(HubError):
    """Error: another caller has published a revision since the newest one was read; nothing was written."""

    code = ErrorCode.CHANGED_MEANWHILE


_REVISIONS: Final = sa.select(*columns_of(SettingsRevision, settings_revisions))
NEWEST_NUMBER: Final = sa.select(sa.func.max(settings_revisions.c.number))
NEWEST_REVISION: Final = _REVISIONS.order_by(settings_revisions.c.number.desc()).limit(1)


@lone
def newest_number(c: sa.Connection) -> int:
    """Return the number of the newest revision; 0 without one."""
    return c.execute(NEWEST_NUMBER).scalar_one() or 0


def newest_revision(c: sa.Connection) -> SettingsRevision | None:
    """Return the newest revision, if there is one."""
    return struct_or_none(SettingsRevision, c.execute(NEWEST_REVISION).one_or_none())


def revision_of(c: sa.Connection, node_id: NodeId) -> SettingsRevision | None:
    """Return the revision that a node used last, if it used one."""
    used = sa.select(nodes.c.settings_number).where(nodes.c.id == node_id).scalar_subquery()
    return struct_or_none(
        SettingsRevision, c.execute(_REVISIONS.where(settings_revisions.c.number == used)).one_or_none()
    )


def find_revision(c: sa.Connection, number: int) -> SettingsRevision:
    """Return a revision. Raises CodedError."""
    row = c.execute(_REVISIONS.where(settings_revisions.c.number == number)).one_or_none()
    if row is None:
        raise CodedError(
            ErrorCode.UNKNOWN_NAME,
            f"no revision {number} of the settings is kept; hub config revisions lists all",
        )
    return struct_from(SettingsRevision, row)


def list_revisions(
    c: sa.Connection, *, limit: int | None = None, after: Key | None = None
) -> list[SettingsRevision]:
    """Return the revisions, the newest first."""
    query = paged(_REVISIONS, settings_revisions.c.number, limit=limit, after=after, descending=True)
    return fetch_page(c, SettingsRevision, query, limit)


def publish(c: sa.Connection, revision: SettingsRevision) -> None:
    """Write a revision, which follows the newest one, with its audit entry, and delete old ones.

    Raises:
        PublishedMeanwhile: another one has its number.
    """
    row = msgspec.structs.asdict(revision)
    if newest_number(c) != revision.number - 1:
        raise PublishedMeanwhile("another revision of the settings was published meanwhile; look at it first")
    c.execute(sa.insert(settings_revisions), row)
    in_use = sa.select(nodes.c.settings_number).where(nodes.c.settings_number.is_not(None))
    c.execute(
        sa.delete(settings_revisions).where(
            settings_revisions.c.number <= revision.number - REVISIONS,
            settings_revisions.c.number.not_in(in_use),
        )
    )
    detail = {"is_withdrawn": revision.text is None}
    audit.append(
        c,
        at=revision.at,
        actor=revision.actor,
        event="settings.published",
        subject=str(revision.number),
        detail=detail,
    )


def record_use(c: sa.Connection, node_id: NodeId, number: int | None) -> None:
    """Record the revision that a node uses. *number*: None without one."""
    used = {"settings_number": number, "settings_refused": None}
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(used))


def record_refusal(c: sa.Connection, node_id: NodeId, why: str) -> None:
    """Record why a node does not use the newest revision."""
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(settings_refused=why))
