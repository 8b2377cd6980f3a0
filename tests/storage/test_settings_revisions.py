"""Revisions of the shared settings: numbered one after the other, kept as long as a node may need them."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, NodeId
from storage import audit
from storage.devices import nodes
from storage.devices.nodes import REVISIONS, PublishedMeanwhile, SettingsRevision
from storage.schema import nodes as node_table
from tests.storage.rows import AT, some
from tests.support.coded import coded

EAST = NodeId("east")
SAID = sa.select(node_table.c.settings_number, node_table.c.settings_refused)


def publishes(c: sa.Connection, number: int, text: str | None = "[limits]\n") -> SettingsRevision:
    """Somebody publishes a revision."""
    audit.begin_chain(c, at=AT, subject="hub")
    revision = SettingsRevision(number, text, "operator:7", AT + number)
    nodes.publish(c, revision)
    return revision


def test_the_newest_revision_counts_and_each_has_an_entry_in_the_audit_log(c: sa.Connection) -> None:
    assert (nodes.newest_number(c), nodes.newest_revision(c)) == (0, None)
    first = publishes(c, 1)
    withdrawn = publishes(c, 2, None)
    assert (nodes.newest_number(c), nodes.newest_revision(c)) == (2, withdrawn)
    assert nodes.find_revision(c, 1) == first
    assert nodes.list_revisions(c, limit=10) == [withdrawn, first]
    assert nodes.list_revisions(c, limit=1, after=(2,)) == [first]
    entries = audit.list_entries(c, event="settings.published")
    assert [(one.subject, one.actor) for one in entries] == [("2", "operator:7"), ("1", "operator:7")]


def test_one_of_two_who_publish_at_once_is_refused(c: sa.Connection) -> None:
    first = publishes(c, 1)
    with pytest.raises(PublishedMeanwhile, match="another revision of the settings was published meanwhile"):
        publishes(c, 1, "[budget]\n")
    assert nodes.list_revisions(c, limit=10) == [first]


def test_old_revisions_go_unless_a_node_uses_them(c: sa.Connection) -> None:
    nodes.begin_boot(c, EAST, BootId("boot"), AT)
    for number in (1, 2):
        publishes(c, number)
    nodes.record_use(c, EAST, 1)
    for number in range(3, REVISIONS + 3):
        publishes(c, number)
    numbers = [one.number for one in nodes.list_revisions(c, limit=2 * REVISIONS)]
    assert numbers == [*range(REVISIONS + 2, 2, -1), 1]
    assert some(nodes.revision_of(c, EAST)).number == 1
    with pytest.raises(
        CodedError, check=coded(ErrorCode.BAD_PARAMS), match="no revision 2 of the settings is kept"
    ):
        nodes.find_revision(c, 2)


def test_a_node_says_which_revision_it_uses_and_why_not_a_newer_one(c: sa.Connection) -> None:
    nodes.begin_boot(c, EAST, BootId("boot"), AT)
    publishes(c, 1)
    nodes.record_refusal(c, EAST, "no such file")
    assert c.execute(SAID).one() == (None, "no such file")
    nodes.record_use(c, EAST, 1)
    assert c.execute(SAID).one() == (1, None)
