"""A start of the hub: the audit log begins with the first one, and none begins it a second time."""

from pathlib import Path

import sqlalchemy as sa

from hub.api.nouns.overviews import AuditCheckView, AuditLog
from hub.app import boot
from hub.app.boot import Context
from storage import audit
from tests.hub.app.test_reload import grounded


async def test_the_audit_log_of_a_fresh_hub_begins_with_its_creation_and_holds(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        assert (await verified(context)).ok, "nothing has started yet"
        begun = await boot.begin(context)
        first = (await context.store.read(audit.list_entries, limit=1, oldest_first=True))[0]
        assert (first.seq, first.event, first.subject) == (1, "hub.created", begun.hub_id)
        await boot.begin(context)
        assert (await verified(context)).ok
        assert len(await context.store.read(audit.list_entries, limit=9, event="hub.created")) == 1


async def test_an_emptied_audit_log_is_reported_also_after_a_start(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        await boot.begin(context)
        await context.store.write(wipe)
        assert not (await verified(context)).ok
        await boot.begin(context)
        told = await verified(context)
        assert [(found.seq, "gone" in found.what) for found in told.breaks] == [(1, True)]


async def test_each_start_tells_in_the_log_where_the_audit_log_ends(tmp_path: Path) -> None:
    async with grounded(tmp_path) as context:
        for _ in range(2):
            await boot.begin(context)
        (entry,) = await context.store.read(audit.list_entries, limit=9)
        told = [line.fields for line in context.log.ring.since(0) if line.event == "audit.head"]
        assert told == [{"seq": 1, "hash": entry.hash.hex()}] * 2


async def verified(context: Context) -> AuditCheckView:
    return await AuditLog(context.store, context.clock).verify()


def wipe(c: sa.Connection) -> None:
    c.execute(sa.text("DELETE FROM audit_log"))
    c.execute(sa.text("DELETE FROM hub WHERE key = 'audit.head'"))
