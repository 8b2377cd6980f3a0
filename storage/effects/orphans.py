"""Deletion of ledger entries and items that neither a source nor a device has any more.

Both tables are searched by key, a part at a time, so that no transaction grows with them.

**An entry of ``unit_ledger``** goes when its file was not listed for long, although runs of its agent went
on: ``renew_entries`` renews an entry whose file is seen. It also goes when its agent was archived long ago.
For a mailbox it goes by its age: messages are never listed again, and ``seen_messages`` knows them.

**An item** goes when all of these hold, so that nothing is delivered twice:

* No device has its row: its owner rejected it, the hub holds it, or the device was revoked as long ago.
  An item whose row a device may have stays, however old its source is. A file that comes back is compared
  with it, in whatever words a model finds it then.
* No source has it: the ledger has no entry of its unit, for its agent or any agent of its device. A unit that
  is read again keeps its entry, with an empty ``content_hash``.
* It is old, and no call of it is kept.

A rejected item comes again only if its file was away for longer than that, and a model then finds it in other
words. In the same words it has the same call id, which the device has answered. A device that is let in again
lists its rows before anything is sent to it, so the ledger has them again.
"""

from typing import Any

import sqlalchemy as sa

from storage.effects.retention import ROW_LIMIT, ROWS
from storage.kernel.columns import Int
from storage.runs.units import spoil_trees_of
from storage.schema import agents, devices, items, run_calls, runs, unit_ledger


def text_parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=sa.Text)


_cutoff = sa.bindparam("before", type_=Int)
_entry = sa.tuple_(unit_ledger.c.agent_id, unit_ledger.c.unit_key)
_from_unit = _entry > sa.tuple_(text_parameter("after_agent"), text_parameter("after_unit"))
_goes_on = sa.exists().where(
    runs.c.agent_id == unit_ledger.c.agent_id,
    sa.text("runs.outcome = 'success'"),
    runs.c.created_at >= sa.bindparam("since", type_=Int),
)
_is_unread = sa.exists().where(
    agents.c.id == unit_ledger.c.agent_id,
    sa.or_(agents.c.deleted_at < _cutoff, sa.text("agents.executor = 'connector'"), _goes_on),
)
_is_left = sa.exists().where(devices.c.id == items.c.device_id, devices.c.revoked_at < _cutoff)
_other_agent = agents.alias("other_agent")
_has_source = sa.or_(
    sa.exists().where(unit_ledger.c.agent_id == items.c.agent_id, unit_ledger.c.unit_key == items.c.unit_key),
    sa.exists().where(
        _other_agent.c.device_id == items.c.device_id,
        unit_ledger.c.agent_id == _other_agent.c.id,
        unit_ledger.c.unit_key == items.c.unit_key,
    ),
)
UNITS_FROM = (
    sa.select(unit_ledger.c.agent_id, unit_ledger.c.unit_key)
    .where(_from_unit)
    .order_by(unit_ledger.c.agent_id, unit_ledger.c.unit_key)
    .limit(ROW_LIMIT)
)
DROP_ENTRIES = (
    sa.delete(unit_ledger)
    .where(
        _from_unit,
        _entry <= sa.tuple_(text_parameter("last_agent"), text_parameter("last_unit")),
        unit_ledger.c.done_at < _cutoff,
        _is_unread,
    )
    .returning(unit_ledger.c.agent_id)
)
ITEMS_FROM = (
    sa.select(items.c.id).where(items.c.id > sa.bindparam("after")).order_by(items.c.id).limit(ROW_LIMIT)
)
DROP_ITEMS = sa.delete(items).where(
    items.c.id > sa.bindparam("after"),
    items.c.id <= sa.bindparam("last"),
    items.c.updated_at < _cutoff,
    sa.or_(
        sa.and_(sa.text("items.verdict = 'rejected'"), items.c.verdict_at < _cutoff),
        sa.text("items.verdict = 'held'"),
        items.c.device_id.is_(None),
        _is_left,
    ),
    ~_has_source,
    ~sa.exists().where(run_calls.c.call_id == items.c.call_id),
)


def prune_units(
    c: sa.Connection, after: tuple[str, str], *, before: int, since: int, rows: int = ROWS
) -> tuple[int, tuple[str, str]]:
    """Delete entries of gone units among the *rows* entries behind *after*.

    Args:
        before: epoch milliseconds; only entries that were settled, tried or seen before that.
        since: a run that succeeded since then would have seen the unit.

    Returns:
        The number of deleted entries, and the place to go on; the beginning after the last entry.
    """
    place = {"after_agent": after[0], "after_unit": after[1]}
    found = c.execute(UNITS_FROM, place | {"rows": rows}).all()
    if not found:
        return 0, ("", "")
    last = {"last_agent": found[-1].agent_id, "last_unit": found[-1].unit_key}
    went = c.execute(DROP_ENTRIES, place | last | {"before": before, "since": since}).scalars().all()
    spoil_trees_of(c, went)
    return len(went), (last["last_agent"], last["last_unit"]) if len(found) == rows else ("", "")


def prune_items(c: sa.Connection, after: str, *, before: int, rows: int = ROWS) -> tuple[int, str]:
    """Delete gone items among the *rows* items behind *after*. See ``prune_units`` for the result."""
    found = c.execute(ITEMS_FROM, {"after": after, "rows": rows}).scalars().all()
    if not found:
        return 0, ""
    went = c.execute(DROP_ITEMS, {"after": after, "last": found[-1], "before": before}).rowcount
    return went, found[-1] if len(found) == rows else ""
