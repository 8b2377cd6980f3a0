"""A start of the hub: the audit log begins with the first one, and none begins it a second time."""

from pathlib import Path

import sqlalchemy as sa

from hub.assembly import boot
from hub.assembly.ground import Ground
from hub.operations.audit import AuditOperations
from hub.ops.views_audit import AuditCheckView
from storage.store import audit
from tests.hub.assembly.test_taking_up import grounded


async def test_the_audit_log_of_a_fresh_hub_begins_with_its_creation_and_holds(tmp_path: Path) -> None:
    async with grounded(tmp_path) as ground:
        assert (await verified(ground)).ok, "nothing has started yet"
        begun = await boot.begin(ground)
        first = (await ground.store.read(audit.list_entries, limit=1, above=0))[0]
        assert (first.seq, first.event, first.subject) == (1, "hub.created", begun.hub_id)
        await boot.begin(ground)
        assert (await verified(ground)).ok
        assert len(await ground.store.read(audit.list_entries, limit=9, event="hub.created")) == 1


async def test_an_audit_log_that_was_wiped_is_told_of_also_after_a_start(tmp_path: Path) -> None:
    async with grounded(tmp_path) as ground:
        await boot.begin(ground)
        await ground.store.write(wipe)
        assert not (await verified(ground)).ok
        await boot.begin(ground)
        told = await verified(ground)
        assert [(found.seq, "gone" in found.what) for found in told.breaks] == [(1, True)]


async def test_each_start_tells_in_the_log_where_the_audit_log_ends(tmp_path: Path) -> None:
    async with grounded(tmp_path) as ground:
        for _ in range(2):
            await boot.begin(ground)
        (entry,) = await ground.store.read(audit.list_entries, limit=9)
        told = [line.fields for line in ground.log.ring.since(0) if line.event == "audit.head"]
        assert told == [{"seq": 1, "hash": entry.hash.hex()}] * 2


async def verified(ground: Ground) -> AuditCheckView:
    return await AuditOperations(ground.store, ground.clock).check()


def wipe(c: sa.Connection) -> None:
    c.execute(sa.text("DELETE FROM audit_log"))
    c.execute(sa.text("DELETE FROM hub WHERE key = 'audit.head'"))
