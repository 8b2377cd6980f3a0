"""Encrypted excerpts around items' quotes: storage until the verdict.

They are sealed by a key that is not in the database. An excerpt is written with the plan of its item. It is
deleted with the verdict, with the item, when the device is revoked, and by its age.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import DeviceId
from storage.kernel.columns import execute_among, execute_for_each, in_parts, struct_from
from storage.schema import item_excerpts, items

RESEALED: Final = 500  # in one transaction


class SealedExcerpt(msgspec.Struct, frozen=True):
    """Excerpt of the item *item_id*, sealed by the key *key_id*."""

    item_id: str
    key_id: str
    sealed: bytes


# Maps row id, owner, key id and sealed bytes to the newest key and sealed bytes; None: they cannot be opened.
Reseal = Callable[[str, str, str, bytes], tuple[str, bytes] | None]

_EXCERPT_COLUMNS = (item_excerpts.c.item_id, item_excerpts.c.key_id, item_excerpts.c.sealed)
OF_ITEMS = sa.select(*_EXCERPT_COLUMNS).where(
    item_excerpts.c.item_id.in_(sa.bindparam("ids", expanding=True))
)
OF_KEY = (
    sa.select(*_EXCERPT_COLUMNS)
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
DROP_OF_DEVICE = sa.delete(item_excerpts).where(
    item_excerpts.c.item_id.in_(sa.select(items.c.id).where(items.c.device_id == sa.bindparam("device")))
)


def put_excerpts(
    c: sa.Connection, excerpts: Mapping[str, SealedExcerpt | None], *, at: int, fresh: Sequence[str] = ()
) -> None:
    """Replace the excerpts of items, by item. *fresh*: items that have none yet."""
    execute_among(c, DROP, "ids", sorted(excerpts.keys() - set(fresh)))
    rows = [
        msgspec.structs.asdict(excerpt) | {"created_at": at}
        for excerpt in excerpts.values()
        if excerpt is not None
    ]
    execute_for_each(c, ADD, rows)


def find_excerpts(c: sa.Connection, item_ids: Sequence[str]) -> dict[str, SealedExcerpt]:
    """Return the excerpts of items that have one, by item."""
    parts = (c.execute(OF_ITEMS, {"ids": part}) for part in in_parts(item_ids))
    return {row.item_id: struct_from(SealedExcerpt, row) for found in parts for row in found}


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
