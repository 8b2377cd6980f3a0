"""A lease is held by one, ends by itself, and never gives out the same fence twice."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, NodeId
from storage import audit, leases
from storage.devices import nodes, settings_revisions
from storage.devices.nodes import begin_boot, end_boot
from storage.devices.settings_revisions import REVISIONS, PublishedMeanwhile, SettingsRevision
from storage.kernel.identity import ensure_extraction_secret, ensure_hub_id
from storage.leases import LostLease, Term
from storage.schema import nodes as node_table
from tests.storage.rows import AT, BOOT, NEXT_BOOT, some
from tests.support.coded import coded

TTL = 60_000


def test_first_requester_holds_the_lease(c: sa.Connection) -> None:
    term = leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    assert term == Term("scheduler", BOOT, 1)
    assert leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) is None
    leases.check_term(c, term)


def test_leases_of_different_names_are_independent(c: sa.Connection) -> None:
    leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    assert leases.acquire_lease(c, "housekeeping", NEXT_BOOT, ttl_ms=TTL) == Term(
        "housekeeping", NEXT_BOOT, 1
    )


def test_expired_lease_is_taken_over_and_the_old_holder_refused(c: sa.Connection) -> None:
    old = some(leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=0))
    new = leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL)
    assert new == Term("scheduler", NEXT_BOOT, 2)
    assert not leases.renew_lease(c, old, ttl_ms=TTL)
    with pytest.raises(LostLease, match="scheduler"):
        leases.check_term(c, old)
    leases.check_term(c, new)


def test_holder_of_an_expired_lease_must_renew_before_writing(c: sa.Connection) -> None:
    term = some(leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=0))
    with pytest.raises(LostLease):
        leases.check_term(c, term)
    assert leases.renew_lease(c, term, ttl_ms=TTL)
    leases.check_term(c, term)


def test_renewed_lease_is_not_granted_to_another_boot(c: sa.Connection) -> None:
    assert leases.renew_lease(c, some(leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=0)), ttl_ms=TTL)
    assert leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) is None


def test_resigned_lease_is_free_immediately_and_the_next_fence_is_higher(c: sa.Connection) -> None:
    leases.resign_lease(c, some(leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)))
    assert leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) == Term("scheduler", NEXT_BOOT, 2)


def test_resignation_under_an_old_term_changes_nothing(c: sa.Connection) -> None:
    old = leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=0)
    new = leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL)
    assert old is not None
    assert new is not None
    leases.resign_lease(c, old)
    leases.check_term(c, new)


def test_holder_asking_again_gets_a_new_term(c: sa.Connection) -> None:
    lost = leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)  # its answer did not arrive
    assert lost is not None
    assert leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL) == Term("scheduler", BOOT, 2)
    with pytest.raises(LostLease):
        leases.check_term(c, lost)


def test_runs_of_a_dead_boot_are_free_in_a_private_database(c: sa.Connection) -> None:
    dead = leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    own = leases.acquire_lease(c, "housekeeping", NEXT_BOOT, ttl_ms=TTL)
    assert dead is not None
    assert own is not None
    leases.end_others(c, NEXT_BOOT)
    assert leases.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) == Term("scheduler", NEXT_BOOT, 2)
    leases.check_term(c, own)


EAST = NodeId("east")
SAID = sa.select(node_table.c.settings_number, node_table.c.settings_refused)


def publishes(c: sa.Connection, number: int, text: str | None = "[limits]\n") -> SettingsRevision:
    """Somebody publishes a revision."""
    audit.begin_chain(c, at=AT, subject="hub")
    revision = SettingsRevision(number, text, "operator:7", AT + number)
    settings_revisions.publish(c, revision)
    return revision


def test_the_newest_revision_counts_and_each_has_an_entry_in_the_audit_log(c: sa.Connection) -> None:
    assert (settings_revisions.newest_number(c), settings_revisions.newest_revision(c)) == (0, None)
    first = publishes(c, 1)
    withdrawn = publishes(c, 2, None)
    assert (settings_revisions.newest_number(c), settings_revisions.newest_revision(c)) == (2, withdrawn)
    assert settings_revisions.find_revision(c, 1) == first
    assert settings_revisions.list_revisions(c, limit=10) == [withdrawn, first]
    assert settings_revisions.list_revisions(c, limit=1, after=(2,)) == [first]
    entries = audit.list_entries(c, event="settings.published")
    assert [(one.subject, one.actor) for one in entries] == [("2", "operator:7"), ("1", "operator:7")]


def test_second_publication_of_the_same_settings_revision_is_refused(c: sa.Connection) -> None:
    first = publishes(c, 1)
    with pytest.raises(PublishedMeanwhile, match="another revision of the settings was published meanwhile"):
        publishes(c, 1, "[budget]\n")
    assert settings_revisions.list_revisions(c, limit=10) == [first]


def test_old_settings_revisions_are_pruned_unless_used_by_a_node(c: sa.Connection) -> None:
    nodes.begin_boot(c, EAST, BootId("boot"), AT)
    for number in (1, 2):
        publishes(c, number)
    settings_revisions.record_use(c, EAST, 1)
    for number in range(3, REVISIONS + 3):
        publishes(c, number)
    numbers = [one.number for one in settings_revisions.list_revisions(c, limit=2 * REVISIONS)]
    assert numbers == [*range(REVISIONS + 2, 2, -1), 1]
    assert some(settings_revisions.revision_of(c, EAST)).number == 1
    with pytest.raises(
        CodedError, check=coded(ErrorCode.UNKNOWN_NAME), match="no revision 2 of the settings is kept"
    ):
        settings_revisions.find_revision(c, 2)


def test_node_records_the_settings_revision_and_the_reason_of_a_refusal(c: sa.Connection) -> None:
    nodes.begin_boot(c, EAST, BootId("boot"), AT)
    publishes(c, 1)
    settings_revisions.record_refusal(c, EAST, "no such file")
    assert c.execute(SAID).one() == (None, "no such file")
    settings_revisions.record_use(c, EAST, 1)
    assert c.execute(SAID).one() == (1, None)


NODE = NodeId("node-1")
MINUTE_MS = 60_000


def test_ensure_hub_id_returns_the_first_id(c: sa.Connection) -> None:
    assert (ensure_hub_id(c, "hub-1"), ensure_hub_id(c, "hub-2")) == ("hub-1", "hub-1")


def test_extraction_secret_of_a_hub_is_made_once(c: sa.Connection) -> None:
    assert ensure_extraction_secret(c, b"first") == b"first"
    assert ensure_extraction_secret(c, b"other") == b"first"


def test_starts_after_a_crash_are_counted_within_ten_minutes(c: sa.Connection) -> None:
    starts = [(BootId("b-1"), 0), (BootId("b-2"), 2), (BootId("b-3"), 11), (BootId("b-4"), 30)]
    boots = [begin_boot(c, NODE, boot, AT + minute * MINUTE_MS) for boot, minute in starts]
    assert [boot.boots_10min for boot in boots] == [1, 2, 3, 1]
    assert [boot.earlier for boot in boots] == [None, "b-1", "b-2", "b-3"]


def test_clean_restart_does_not_count_as_a_crash(c: sa.Connection) -> None:
    for n in range(3):
        boot = begin_boot(c, NODE, BootId(f"b-{n}"), AT + n)
        end_boot(c, NODE, BootId(f"b-{n}"), AT + n)
        assert boot.boots_10min == 1


def test_stop_is_recorded_only_for_the_present_boot(c: sa.Connection) -> None:
    begin_boot(c, NODE, BootId("b-2"), AT)
    end_boot(c, NODE, BootId("b-1"), AT + 1)
    assert c.execute(sa.select(node_table.c.stopped_at)).scalar_one() is None
    end_boot(c, NODE, BootId("b-2"), AT + 2)
    assert c.execute(sa.select(node_table.c.stopped_at)).scalar_one() == AT + 2
