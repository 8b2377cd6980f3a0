import sqlalchemy as sa

from protocol.ids import BootId, NodeId
from storage import identity
from storage.schema import nodes
from tests.storage.rows import AT

NODE = NodeId("node-1")
MINUTE_MS = 60_000


def test_a_hub_keeps_its_first_id(c: sa.Connection) -> None:
    assert identity.ensure_hub_id(c, "hub-1") == "hub-1"
    assert identity.ensure_hub_id(c, "hub-2") == "hub-1"


def test_starts_that_follow_each_other_closely_are_counted(c: sa.Connection) -> None:
    starts = [(BootId("b-1"), 0), (BootId("b-1"), 1), (BootId("b-2"), 2), (BootId("b-3"), 30)]
    boots = [identity.begin_boot(c, NODE, boot, AT + minute * MINUTE_MS) for boot, minute in starts]
    assert [boot.boots_10min for boot in boots] == [1, 1, 2, 1]


def test_a_stop_is_noted_by_the_boot_it_ends(c: sa.Connection) -> None:
    identity.begin_boot(c, NODE, BootId("b-2"), AT)
    identity.end_boot(c, NODE, BootId("b-1"), AT + 1)
    assert c.execute(sa.select(nodes.c.stopped_at)).scalar_one() is None
    identity.end_boot(c, NODE, BootId("b-2"), AT + 2)
    assert c.execute(sa.select(nodes.c.stopped_at)).scalar_one() == AT + 2
