"""Lines around the quotes of items that wait for a verdict, sealed by a key that is not in the database.

An excerpt is written with the plan of its item. It is deleted with the verdict, with the item, when the
device is revoked, and by its age.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import DeviceId
from storage.kernel.columns import in_parts
from storage.kernel.rows import execute_for_each, fill
from storage.schema import item_excerpts, items

RESEALED: Final = 500  # in one transaction


class SealedExcerpt(msgspec.Struct, frozen=True):
    """Excerpt of the item *item_id*, sealed by the key *key_id*."""

    item_id: str
    key_id: str
    sealed: bytes


# Maps row id, owner, key id and sealed bytes to the newest key and sealed bytes; None: they cannot be opened.
Reseal = Callable[[str, str, str, bytes], tuple[str, bytes] | None]

_COLUMNS = (item_excerpts.c.item_id, item_excerpts.c.key_id, item_excerpts.c.sealed)
OF_ITEM = sa.select(*_COLUMNS).where(item_excerpts.c.item_id == sa.bindparam("item"))
OF_KEY = (
    sa.select(*_COLUMNS)
    .where(item_excerpts.c.key_id == sa.bindparam("key"))
    .order_by(item_excerpts.c.created_at)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
KEYS = sa.select(item_excerpts.c.key_id, sa.func.count().label("rows")).group_by(item_excerpts.c.key_id)
ADD = sa.insert(item_excerpts)
RESEAL = (
    sa.update(item_excerpts)
    .where(item_excerpts.c.item_id == sa.bindparam("item"))
    .values(key_id=sa.bindparam("key"), sealed=sa.bindparam("blob", type_=sa.LargeBinary))
)
DROP = sa.delete(item_excerpts).where(item_excerpts.c.item_id.in_(sa.bindparam("ids", expanding=True)))
DROP_OF_CALLS = sa.delete(item_excerpts).where(
    item_excerpts.c.item_id.in_(
        sa.select(items.c.id).where(items.c.call_id.in_(sa.bindparam("calls", expanding=True)))
    )
)
DROP_OF_DEVICE = sa.delete(item_excerpts).where(
    item_excerpts.c.item_id.in_(sa.select(items.c.id).where(items.c.device_id == sa.bindparam("device")))
)


def put_excerpts(
    c: sa.Connection, excerpts: Mapping[str, SealedExcerpt | None], *, at: int, fresh: Sequence[str] = ()
) -> None:
    """Replace the excerpts of items, by item. *fresh*: items that have none yet."""
    for part in in_parts(sorted(excerpts.keys() - set(fresh))):
        c.execute(DROP, {"ids": part})
    rows = [
        msgspec.structs.asdict(excerpt) | {"created_at": at}
        for excerpt in excerpts.values()
        if excerpt is not None
    ]
    execute_for_each(c, ADD, rows)


def find_excerpt(c: sa.Connection, item_id: str) -> SealedExcerpt | None:
    """Return the excerpt of an item, if there is one."""
    row = c.execute(OF_ITEM, {"item": item_id}).one_or_none()
    return None if row is None else fill(SealedExcerpt, row)


def drop_excerpts(c: sa.Connection, call_ids: Sequence[str]) -> None:
    """Delete the excerpts of the items with these calls."""
    for part in in_parts(call_ids):
        c.execute(DROP_OF_CALLS, {"calls": part})


def drop_excerpts_of_device(c: sa.Connection, device_id: DeviceId) -> None:
    """Delete the excerpts of a device's items: it was revoked, and takes no verdict any more."""
    c.execute(DROP_OF_DEVICE, {"device": device_id})


def keys_of_excerpts(c: sa.Connection) -> dict[str, int]:
    """Return the number of excerpts that each key seals, by key id."""
    return {row.key_id: row.rows for row in c.execute(KEYS)}


def reseal_excerpts(c: sa.Connection, key_id: str, reseal: Reseal, *, rows: int = RESEALED) -> int:
    """Seal some excerpts of a key by another one; delete those that do not open. Return their number."""
    found = c.execute(OF_KEY, {"key": key_id, "rows": rows}).all()
    lost = []
    for row in found:
        again = reseal(row.item_id, row.item_id, row.key_id, row.sealed)
        if again is None:
            lost.append(row.item_id)
        else:
            c.execute(RESEAL, {"item": row.item_id, "key": again[0], "blob": again[1]})
    if lost:
        c.execute(DROP, {"ids": lost})
    return len(found)
