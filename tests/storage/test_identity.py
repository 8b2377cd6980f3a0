import sqlalchemy as sa

from protocol.ids import BootId, NodeId
from storage.devices.nodes import begin_boot, end_boot, ensure_extraction_secret, ensure_hub_id
from storage.schema import nodes
from tests.storage.rows import AT

NODE = NodeId("node-1")
MINUTE_MS = 60_000


def test_a_hub_keeps_its_first_id(c: sa.Connection) -> None:
    assert (ensure_hub_id(c, "hub-1"), ensure_hub_id(c, "hub-2")) == ("hub-1", "hub-1")


def test_the_secret_of_a_hub_is_made_once(c: sa.Connection) -> None:
    assert ensure_extraction_secret(c, b"first") == b"first"
    assert ensure_extraction_secret(c, b"other") == b"first"


def test_starts_after_a_crash_that_follow_each_other_closely_are_counted(c: sa.Connection) -> None:
    starts = [(BootId("b-1"), 0), (BootId("b-2"), 2), (BootId("b-3"), 11), (BootId("b-4"), 30)]
    boots = [begin_boot(c, NODE, boot, AT + minute * MINUTE_MS) for boot, minute in starts]
    assert [boot.boots_10min for boot in boots] == [1, 2, 3, 1]
    assert [boot.earlier for boot in boots] == [None, "b-1", "b-2", "b-3"]


def test_a_restart_in_good_order_is_no_crash(c: sa.Connection) -> None:
    for n in range(3):
        boot = begin_boot(c, NODE, BootId(f"b-{n}"), AT + n)
        end_boot(c, NODE, BootId(f"b-{n}"), AT + n)
        assert boot.boots_10min == 1


def test_a_stop_is_noted_by_the_boot_it_ends(c: sa.Connection) -> None:
    begin_boot(c, NODE, BootId("b-2"), AT)
    end_boot(c, NODE, BootId("b-1"), AT + 1)
    assert c.execute(sa.select(nodes.c.stopped_at)).scalar_one() is None
    end_boot(c, NODE, BootId("b-2"), AT + 2)
    assert c.execute(sa.select(nodes.c.stopped_at)).scalar_one() == AT + 2
