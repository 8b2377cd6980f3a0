"""A lease is held by one, ends by itself, and never gives out the same fence twice."""

import pytest
import sqlalchemy as sa

from storage.devices import nodes
from storage.devices.nodes import LostLease, Term
from tests.storage.rows import BOOT, NEXT_BOOT, some

TTL = 60_000


def test_who_comes_first_holds_the_lease(c: sa.Connection) -> None:
    term = nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    assert term == Term("scheduler", BOOT, 1)
    assert nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) is None
    nodes.check_term(c, term)


def test_leases_of_other_names_have_nothing_to_do_with_it(c: sa.Connection) -> None:
    nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    assert nodes.acquire_lease(c, "housekeeping", NEXT_BOOT, ttl_ms=TTL) == Term("housekeeping", NEXT_BOOT, 1)


def test_a_lease_that_is_over_is_taken_and_its_old_holder_is_refused(c: sa.Connection) -> None:
    old = some(nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=0))
    new = nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL)
    assert new == Term("scheduler", NEXT_BOOT, 2)
    assert not nodes.renew_lease(c, old, ttl_ms=TTL)
    with pytest.raises(LostLease, match="scheduler"):
        nodes.check_term(c, old)
    nodes.check_term(c, new)


def test_a_holder_whose_time_is_over_may_not_write_before_it_has_renewed(c: sa.Connection) -> None:
    term = some(nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=0))
    with pytest.raises(LostLease):
        nodes.check_term(c, term)
    assert nodes.renew_lease(c, term, ttl_ms=TTL)
    nodes.check_term(c, term)


def test_a_renewed_lease_stays_with_its_holder(c: sa.Connection) -> None:
    assert nodes.renew_lease(c, some(nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=0)), ttl_ms=TTL)
    assert nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) is None


def test_what_was_resigned_is_free_at_once_and_its_fence_goes_on(c: sa.Connection) -> None:
    nodes.resign_lease(c, some(nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)))
    assert nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) == Term("scheduler", NEXT_BOOT, 2)


def test_an_old_term_resigns_nothing(c: sa.Connection) -> None:
    old = nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=0)
    new = nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL)
    assert old is not None
    assert new is not None
    nodes.resign_lease(c, old)
    nodes.check_term(c, new)


def test_a_holder_that_asks_again_gets_a_new_term(c: sa.Connection) -> None:
    lost = nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)  # its answer did not arrive
    assert lost is not None
    assert nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL) == Term("scheduler", BOOT, 2)
    with pytest.raises(LostLease):
        nodes.check_term(c, lost)


def test_runs_of_a_dead_boot_are_free_in_a_private_database(c: sa.Connection) -> None:
    dead = nodes.acquire_lease(c, "scheduler", BOOT, ttl_ms=TTL)
    own = nodes.acquire_lease(c, "housekeeping", NEXT_BOOT, ttl_ms=TTL)
    assert dead is not None
    assert own is not None
    nodes.end_others(c, NEXT_BOOT)
    assert nodes.acquire_lease(c, "scheduler", NEXT_BOOT, ttl_ms=TTL) == Term("scheduler", NEXT_BOOT, 2)
    nodes.check_term(c, own)
