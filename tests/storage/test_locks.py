"""A lock is held by one, ends by itself, and is handed over in the order of arrival."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from storage.agents import locks
from storage.agents.locks import (
    Acquired,
    Holder,
    HoldsAlready,
    LockGrant,
    LockLimits,
    LockLost,
    LockRequest,
    TooManyLocks,
)
from storage.devices import users
from storage.schema import agent_locks
from tests.storage.rows import AT, ME, make_agent, some
from tests.support.clock import SeededChance
from tests.support.coded import coded

TTL = 60_000
ANNA, BERT, CARL, DORA = (Holder("device", f"device-{name}") for name in "abcd")


@pytest.fixture(autouse=True)
def _owner(c: sa.Connection) -> None:
    users.ensure_user(c, ME, "me", AT)


def wanted(holder: Holder, *names: str, **changed: Any) -> LockRequest:
    given: dict[str, Any] = {
        "request_id": f"{holder.id} {' '.join(names)}" + (holder.agent_id or ""),
        "user_id": ME,
        "names": names,
        "holder": holder,
        "ttl_ms": TTL,
    }
    return LockRequest(**given | changed)


def take(c: sa.Connection, holder: Holder, *names: str, **changed: Any) -> LockGrant:
    """Locks that are free."""
    return some(locks.acquire(c, wanted(holder, *names, **changed)).grant)


def wait(c: sa.Connection, holder: Holder, *names: str, **changed: Any) -> Acquired:
    """Locks that somebody has."""
    acquired = locks.acquire(c, wanted(holder, *names, **{"wait_ms": TTL} | changed))
    assert acquired.grant is None
    return acquired


def over(c: sa.Connection, *names: str) -> None:
    """The time of these locks has come to its end."""
    c.execute(sa.update(agent_locks).where(agent_locks.c.resource.in_(names)).values(expires_at=1))


def holders(grants: Sequence[LockGrant]) -> list[str]:
    return [grant.holder.id for grant in grants]


@pytest.fixture
def fences(c: sa.Connection) -> dict[str, int]:
    """The lock of ANNA."""
    return take(c, ANNA, "mailbox").fences


@pytest.fixture
def bert_waits(c: sa.Connection, fences: dict[str, int]) -> None:
    """BERT waits for the lock of ANNA."""
    wait(c, BERT, "mailbox")


def test_lock_held_by_another_is_refused_with_the_holder(
    c: sa.Connection,
) -> None:
    assert take(c, ANNA, "mailbox").fences == {"mailbox": 1}
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.LOCK_HELD),
        match=r"'mailbox' is held by device device-a since 20.*Z, until 20.*Z at most",
    ):
        locks.acquire(c, wanted(BERT, "mailbox"))


@pytest.mark.usefixtures("fences")
def test_the_refusal_names_the_expiry_of_the_lock(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.LOCK_HELD)) as refused:
        locks.acquire(c, wanted(BERT, "mailbox"))
    assert refused.value.retry_after_s is not None
    assert 50 < refused.value.retry_after_s <= 60


def test_released_lock_is_free_immediately_and_the_next_fence_is_higher(c: sa.Connection) -> None:
    assert locks.release(c, ME, take(c, ANNA, "mailbox").fences, ANNA) == []
    assert take(c, BERT, "mailbox").fences == {"mailbox": 2}


def test_writes_under_the_fence_of_an_expired_lock_are_refused(c: sa.Connection) -> None:
    locks.check_fence(c, ME, "mailbox", take(c, ANNA, "mailbox").fences["mailbox"])
    over(c, "mailbox")
    with pytest.raises(LockLost, match="was over at 1970-01-01T00:00:00Z"):
        locks.check_fence(c, ME, "mailbox", 1)
    assert take(c, BERT, "mailbox").fences == {"mailbox": 2}
    with pytest.raises(LockLost, match="under fence 1: device device-b has it under 2 since"):
        locks.check_fence(c, ME, "mailbox", 1)
    locks.check_fence(c, ME, "mailbox", 2)


def test_lock_is_renewed_and_released_only_by_the_owner_under_the_fence(
    c: sa.Connection, fences: dict[str, int]
) -> None:
    for holder, shown in ((BERT, fences), (ANNA, {"mailbox": 7}), (ANNA, {"letterbox": 1})):
        with pytest.raises(LockLost):
            locks.renew(c, ME, shown, holder, ttl_ms=TTL)
        with pytest.raises(LockLost):
            locks.release(c, ME, shown, holder)
    assert locks.renew(c, ME, fences, ANNA, ttl_ms=2 * TTL) > AT


def test_two_agents_of_a_device_are_two_holders(c: sa.Connection) -> None:
    fences = take(c, Holder("device", "device-a", make_agent(c).id), "mailbox").fences
    with pytest.raises(CodedError, check=coded(ErrorCode.LOCK_HELD), match="for agent inbox"):
        locks.acquire(c, wanted(ANNA, "mailbox"))
    another = r"'mailbox' is another's: device device-a for agent inbox has it under fence 1"
    with pytest.raises(LockLost, match=another):
        locks.renew(c, ME, fences, ANNA, ttl_ms=TTL)
    with pytest.raises(LockLost, match=another):
        locks.release(c, ME, fences, ANNA)


def test_an_expired_lock_without_waiting_requests_may_be_renewed(
    c: sa.Connection, fences: dict[str, int]
) -> None:
    over(c, "mailbox")
    locks.renew(c, ME, fences, ANNA, ttl_ms=TTL)
    locks.check_fence(c, ME, "mailbox", 1)


@pytest.mark.usefixtures("bert_waits")
def test_an_expired_lock_with_waiting_requests_is_not_renewed(
    c: sa.Connection, fences: dict[str, int]
) -> None:
    over(c, "mailbox")
    with pytest.raises(LockLost, match="'mailbox' is not held under fence 1: its last one, 1, was over"):
        locks.renew(c, ME, fences, ANNA, ttl_ms=TTL)


def test_repeated_release_of_a_lock_changes_nothing(c: sa.Connection, fences: dict[str, int]) -> None:
    for _ in range(2):
        assert locks.release(c, ME, fences, ANNA) == []


def test_repeated_lock_request_gets_the_same_answer(c: sa.Connection) -> None:
    first = take(c, ANNA, "mailbox")
    assert take(c, ANNA, "mailbox") == first
    for _ in range(2):
        wait(c, BERT, "mailbox")
    assert len(locks.list_lock_waits(c)) == 1


def test_holder_requesting_the_lock_again_gets_a_new_fence(
    c: sa.Connection,
) -> None:
    take(c, ANNA, "mailbox", request_id="lost")
    wait(c, BERT, "mailbox")
    assert take(c, ANNA, "mailbox", request_id="again").fences == {"mailbox": 2}
    with pytest.raises(LockLost):
        locks.check_fence(c, ME, "mailbox", 1)


def test_several_locks_are_taken_together_or_not_at_all(c: sa.Connection) -> None:
    take(c, ANNA, "b")
    with pytest.raises(CodedError, check=coded(ErrorCode.LOCK_HELD), match="'b'"):
        locks.acquire(c, wanted(BERT, "a", "b"))
    assert take(c, CARL, "a", "c").fences.keys() == {"a", "c"}


def test_a_lock_is_handed_over_in_the_order_of_arrival(c: sa.Connection, fences: dict[str, int]) -> None:
    for holder in (BERT, CARL, DORA):
        wait(c, holder, "mailbox")
    for before, holder in pairwise((ANNA, BERT, CARL, DORA)):
        (grant,) = locks.release(c, ME, fences, before)
        assert grant.holder == holder
        fences = grant.fences
    assert (fences, locks.release(c, ME, fences, DORA)) == ({"mailbox": 4}, [])


def test_no_request_overtakes_waiting_requests(c: sa.Connection) -> None:
    take(c, ANNA, "b")
    wait(c, BERT, "a", "b")
    with pytest.raises(CodedError, check=coded(ErrorCode.LOCK_HELD), match="'a' is free, but 1 wait for it"):
        locks.acquire(c, wanted(CARL, "a"))


def test_request_for_several_locks_is_granted_when_all_are_free(c: sa.Connection) -> None:
    first, second = take(c, ANNA, "a"), take(c, BERT, "b")
    wait(c, CARL, "a", "b")
    wait(c, DORA, "b")
    assert locks.release(c, ME, second.fences, BERT) == []
    (grant,) = locks.release(c, ME, first.fences, ANNA)
    assert (grant.holder, grant.fences) == (CARL, {"a": 2, "b": 3})
    assert holders(locks.release(c, ME, grant.fences, CARL)) == ["device-d"]


def test_holder_of_a_requested_lock_may_not_wait_for_another(c: sa.Connection) -> None:
    take(c, ANNA, "a")
    take(c, BERT, "b")
    with pytest.raises(HoldsAlready, match="holds lock 'a' already, and would wait for 'b'"):
        locks.acquire(c, wanted(ANNA, "a", "b", wait_ms=TTL))


def test_expired_lock_wait_is_skipped_for_all_locks(c: sa.Connection) -> None:
    first, second = take(c, ANNA, "a"), take(c, BERT, "b")
    wait(c, CARL, "a", "b", wait_ms=-1)  # its time is over before it begins
    assert (locks.users_due(c), locks.sweep(c, ME), locks.list_lock_waits(c)) == ([ME], [], [])
    wait(c, DORA, "a")
    assert holders(locks.release(c, ME, first.fences, ANNA)) == ["device-d"]
    assert locks.release(c, ME, second.fences, BERT) == []


@pytest.mark.usefixtures("bert_waits")
def test_expired_lock_is_handed_over_by_a_sweep_or_the_next_request(c: sa.Connection) -> None:
    wait(c, CARL, "mailbox")
    assert 0 < (locks.next_due_ms(c) or 0) <= TTL
    assert locks.users_due(c) == []
    over(c, "mailbox")
    assert (locks.next_due_ms(c), locks.users_due(c), holders(locks.sweep(c, ME))) == (0, [ME], ["device-b"])
    over(c, "mailbox")
    assert holders(wait(c, DORA, "mailbox").handed) == ["device-c"]


def test_expired_lock_is_freed_although_the_next_request_waits_for_another_lock(c: sa.Connection) -> None:
    take(c, ANNA, "a")
    take(c, BERT, "b")
    wait(c, CARL, "a", "b")
    over(c, "a")
    assert locks.sweep(c, ME) == []
    assert (locks.next_due_ms(c) or 0) > 1_000
    assert [lock.holder for lock in locks.list_locks(c)] == [None, BERT]


def test_dead_waiting_holder_delays_the_next_by_the_own_ttl_only(
    c: sa.Connection, fences: dict[str, int]
) -> None:
    wait(c, BERT, "mailbox", ttl_ms=5_000)
    wait(c, CARL, "mailbox")
    assert [dead.holder for dead in locks.release(c, ME, fences, ANNA)] == [BERT]
    assert 0 < (locks.next_due_ms(c) or 0) <= 5_000
    over(c, "mailbox")
    assert holders(locks.sweep(c, ME)) == ["device-c"]


def test_withdrawn_lock_request_lets_the_next_request_through(c: sa.Connection) -> None:
    take(c, ANNA, "b")
    wait(c, BERT, "a", "b")
    wait(c, CARL, "a")
    withdrawn = locks.withdraw(c, ME, "device-b a b")
    assert (withdrawn.grant, holders(withdrawn.handed)) == (None, ["device-c"])


@pytest.mark.usefixtures("bert_waits")
def test_lock_request_withdrawn_after_the_grant_returns_the_grant(
    c: sa.Connection, fences: dict[str, int]
) -> None:
    locks.release(c, ME, fences, ANNA)
    late = some(locks.withdraw(c, ME, "device-b mailbox").grant)
    assert late == locks.granted(c, ["device-b mailbox", "nobody"])["device-b mailbox"]


def test_lock_handed_over_lasts_the_requested_ttl(c: sa.Connection, fences: dict[str, int]) -> None:
    wait(c, BERT, "mailbox", ttl_ms=5_000)
    (grant,) = locks.release(c, ME, fences, ANNA)
    (lock,) = locks.list_locks(c, user_id=ME)
    assert lock.acquired_at is not None
    assert grant.expires_at == lock.expires_at == lock.acquired_at + 5_000


@pytest.mark.usefixtures("bert_waits")
def test_force_release_removes_a_lock_from_the_holder(c: sa.Connection) -> None:
    assert locks.force_release(c, ME, "mailbox", fence=7) is None
    was, handed = some(locks.force_release(c, ME, "mailbox", fence=1))
    assert (was.holder, was.fence, holders(handed)) == (ANNA, 1, ["device-b"])
    with pytest.raises(LockLost):
        locks.renew(c, ME, {"mailbox": 1}, ANNA, ttl_ms=TTL)
    assert locks.force_release(c, ME, "letterbox") is None


def test_locks_of_the_same_name_are_separate_for_each_user(c: sa.Connection) -> None:
    other = users.ensure_user(c, UserId("other"), "other", AT)
    take(c, ANNA, "mailbox")
    assert take(c, BERT, "mailbox", user_id=other).fences == {"mailbox": 1}
    assert [lock.holder for lock in locks.list_locks(c, user_id=other)] == [BERT]
    assert len(locks.find_locks_named(c, "mailbox")) == 2
    assert [lock.user_id for lock in locks.list_locks(c, limit=1, after=(ME, "mailbox"))] == [other]


def test_held_or_awaited_locks_are_listed(c: sa.Connection) -> None:
    agent = make_agent(c)
    locks.release(c, ME, take(c, ANNA, "free").fences, ANNA)
    take(c, ANNA, "held")
    wait(c, Holder("device", "device-a", agent.id), "held")
    assert [(lock.resource, lock.waiting) for lock in locks.list_locks(c)] == [("held", 1)]
    assert len(locks.list_locks(c, and_free=True)) == 2
    assert [lock.resource for lock in locks.list_locks(c, agent_ids=[agent.id])] == ["held"]
    (waiting,) = locks.list_lock_waits(c)
    assert (waiting.agent_name, waiting.ticket) == ("inbox", 1)


def test_lock_beyond_the_user_limit_replaces_a_free_lock_or_is_refused(c: sa.Connection) -> None:
    limits = LockLimits(locks_per_user=2)
    locks.release(c, ME, some(locks.acquire(c, wanted(ANNA, "a"), limits).grant).fences, ANNA)
    for name, fence in (("b", 2), ("c", 3)):
        grant = some(locks.acquire(c, wanted(ANNA, name), limits).grant)
        assert grant.fences == {name: fence}, "a new name begins above every fence there was"
    assert [lock.resource for lock in locks.list_locks(c, and_free=True)] == ["b", "c"]
    with pytest.raises(TooManyLocks, match="2 locks that are in use") as refused:
        locks.acquire(c, wanted(ANNA, "d"), limits)
    assert refused.value.limit == "locks_per_user"


@pytest.mark.usefixtures("bert_waits")
def test_lock_wait_beyond_the_limit_is_refused(c: sa.Connection) -> None:
    with pytest.raises(TooManyLocks, match="1 wait for lock 'mailbox' already") as refused:
        locks.acquire(c, wanted(CARL, "mailbox", wait_ms=1), LockLimits(lock_waits=1))
    assert refused.value.limit == "lock_waits"


@pytest.mark.usefixtures("bert_waits")
def test_lock_waits_of_devices_end_with_their_hub(c: sa.Connection) -> None:
    assert (locks.forget_waits(c), locks.list_lock_waits(c), locks.next_due_ms(c)) == (1, [], None)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_lock_grants_of_a_user_are_serialized_on_postgresql(engine: sa.Engine) -> None:
    with engine.connect() as one, engine.connect() as other:
        locks.alone(one, ME)
        locks.alone(other, UserId("somebody else"))
        other.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(sa.exc.DBAPIError, match="lock timeout"):
            locks.alone(other, ME)


NAMES = ("a", "b", "c")
HOLDERS = 6
STEPS = 120


class Disorder:
    """Some who take locks, wait, write, release, sleep through their end, or are never heard of again."""

    def __init__(self, c: sa.Connection, seed: int) -> None:
        self._c = c
        self._chance = SeededChance(seed)
        self._requests = 0
        self._held: dict[int, LockGrant] = {}  # what each believes it holds, by its number
        self._waiting: dict[int, LockRequest] = {}
        self._arrived: list[str] = []
        self._granted: list[LockGrant] = []
        self.writes: defaultdict[str, list[int]] = defaultdict(list)
        self.refused = 0

    def step(self) -> None:
        who = self._one_of(HOLDERS)
        self._look(who)
        if who in self._held:
            (self._write, self._release, self._oversleep, self._die)[self._one_of(4)](who)
        elif who in self._waiting:
            if self._one_of(4) == 0:
                self._give_up(who)
        else:
            self._ask(who)

    def end(self) -> None:
        """Everybody lets go, or its time is over, until nobody waits."""
        for who in range(HOLDERS):
            self._waiting.pop(who, None)
        for _ in range(HOLDERS * 2):
            self._c.execute(
                sa.update(agent_locks).where(agent_locks.c.holder_id.is_not(None)).values(expires_at=1)
            )
            locks.sweep(self._c, ME)

    def served_out_of_turn(self) -> int:
        """How many got a lock before somebody who had come earlier and got it as well."""
        last: dict[str, int] = {}
        early = 0
        place = {request_id: number for number, request_id in enumerate(self._arrived)}
        for name in NAMES:
            fences = sorted(
                (grant.fences[name], place[grant.request_id])
                for grant in self._granted
                if name in grant.fences
            )
            for _, came in fences:
                early += came < last.get(name, -1)
                last[name] = came
        return early

    def _ask(self, who: int) -> None:
        self._requests += 1
        names = {NAMES[self._one_of(len(NAMES))], NAMES[self._one_of(len(NAMES))]}
        wanted = LockRequest(
            request_id=f"r-{self._requests}",
            user_id=ME,
            names=tuple(sorted(names)),
            holder=Holder("device", f"{who}.{self._requests}"),
            ttl_ms=TTL,
            wait_ms=TTL,
        )
        self._arrived.append(wanted.request_id)
        acquired = locks.acquire(self._c, wanted)
        if acquired.grant is None:
            self._waiting[who] = wanted
        else:
            self._got(who, acquired.grant)

    def _look(self, who: int) -> None:
        if (wanted := self._waiting.get(who)) is not None:
            grant = locks.granted(self._c, [wanted.request_id]).get(wanted.request_id)
            if grant is not None:
                del self._waiting[who]
                self._got(who, grant)

    def _got(self, who: int, grant: LockGrant) -> None:
        self._granted.append(grant)
        self._held[who] = grant

    def _write(self, who: int) -> None:
        for name, fence in self._held[who].fences.items():
            try:
                locks.check_fence(self._c, ME, name, fence)
            except LockLost:
                self.refused += 1
            else:
                self.writes[name].append(fence)

    def _release(self, who: int) -> None:
        grant = self._held.pop(who)
        try:
            locks.release(self._c, ME, grant.fences, grant.holder)
        except LockLost:
            self.refused += 1

    def _oversleep(self, who: int) -> None:
        """It works on when its time is over."""
        self._expire(self._held[who])

    def _die(self, who: int) -> None:
        self._expire(self._held.pop(who))

    def _expire(self, grant: LockGrant) -> None:
        given = sa.and_(
            agent_locks.c.request_id == grant.request_id, agent_locks.c.holder_id == grant.holder.id
        )
        self._c.execute(sa.update(agent_locks).where(given).values(expires_at=1))
        for user_id in locks.users_due(self._c):
            locks.sweep(self._c, user_id)

    def _give_up(self, who: int) -> None:
        grant = locks.withdraw(self._c, ME, self._waiting.pop(who).request_id).grant
        if grant is not None:
            self._got(who, grant)

    def _one_of(self, count: int) -> int:
        return int(self._chance.uniform(0, count))


@pytest.mark.parametrize("seed", range(3))
def test_lock_fences_and_turns_hold_under_random_events(c: sa.Connection, seed: int) -> None:
    users.ensure_user(c, ME, "me", AT)
    disorder = Disorder(c, seed)
    for _ in range(STEPS):
        disorder.step()
    for fences in disorder.writes.values():
        assert fences == sorted(fences), "a write was accepted out of the order of fences"
    assert disorder.served_out_of_turn() == 0
    assert disorder.writes and disorder.refused
    disorder.end()
    assert (locks.list_lock_waits(c), locks.next_due_ms(c)) == ([], None)
