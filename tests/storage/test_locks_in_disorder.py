"""In whatever order things happen: no write is accepted out of fence order, everybody is served in turn."""

from collections import defaultdict

import pytest
import sqlalchemy as sa

from storage.agents import locks
from storage.agents.locks import Grant, Holder, LockLost, LockRequest
from storage.devices import devices
from storage.schema import agent_locks
from tests.storage.rows import AT, ME
from tests.support.clock import SeededChance

NAMES = ("a", "b", "c")
HOLDERS = 6
STEPS = 120
TTL = 60_000


class Disorder:
    """Some who take locks, wait, write, release, sleep through their end, or are never heard of again."""

    def __init__(self, c: sa.Connection, seed: int) -> None:
        self._c = c
        self._chance = SeededChance(seed)
        self._requests = 0
        self._held: dict[int, Grant] = {}  # what each believes it holds, by its number
        self._waiting: dict[int, LockRequest] = {}
        self._arrived: list[str] = []
        self._granted: list[Grant] = []
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

    def _got(self, who: int, grant: Grant) -> None:
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

    def _expire(self, grant: Grant) -> None:
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
def test_locks_keep_their_laws_in_any_order_of_events(c: sa.Connection, seed: int) -> None:
    devices.ensure_user(c, ME, "me", AT)
    disorder = Disorder(c, seed)
    for _ in range(STEPS):
        disorder.step()
    for fences in disorder.writes.values():
        assert fences == sorted(fences), "a write was accepted out of the order of fences"
    assert disorder.served_out_of_turn() == 0
    assert disorder.writes and disorder.refused
    disorder.end()
    assert (locks.list_lock_waits(c), locks.next_due_ms(c)) == ([], None)
