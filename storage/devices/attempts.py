"""Failed authentication attempts: how long a party waits, and when failures are forgotten.

All hubs on a database count them together, and across their restarts. A party is a network, a token, a key,
or an operator who types codes. While it waits, its failures neither count nor write anything.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from storage.kernel.columns import columns_of, in_parts, now_ms, structs_from
from storage.schema import failed_attempts


class AttemptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """After *failures* in *window_s*, wait *wait_s*; doubled each time, up to *wait_most_s*."""

    failures: int = 10
    window_s: float = 60.0
    wait_s: float = 300.0
    wait_most_s: float = 3_600.0


class AttemptRecord(msgspec.Struct, frozen=True):
    """Failures of a party (instants in epoch milliseconds).

    *recent*: of the last *window_s*. *waits*: number of its waits, of which the last one ends at
    *wait_ends_at*.
    """

    party: str
    recent: list[int] = []
    waits: int = 0
    wait_ends_at: int = 0
    failed_at: int = 0

    def wait_ms(self, at: int, limits: AttemptLimits) -> int:
        """Return the rest of its wait; never more than the longest one, whatever the clocks said."""
        return max(0, min(self.wait_ends_at - at, round(limits.wait_most_s * 1000)))

    def and_one(self, at: int, limits: AttemptLimits) -> "AttemptRecord":
        """Return them with one more at *at*."""
        wait_most_ms = round(limits.wait_most_s * 1000)
        if self.waits and at - self.wait_ends_at >= wait_most_ms:
            return AttemptRecord(self.party).and_one(at, limits)  # reset after a long time without failures
        since = at - round(limits.window_s * 1000)
        recent = [*(failed_at for failed_at in self.recent if since < failed_at <= at), at]
        if len(recent) < limits.failures:
            return AttemptRecord(self.party, recent, self.waits, self.wait_ends_at, at)
        wait_ms = min(wait_most_ms, round(limits.wait_s * 1000) * 2 ** min(self.waits, 64))
        return AttemptRecord(self.party, [], self.waits + 1, at + wait_ms, at)


class Counted(msgspec.Struct, frozen=True):
    """Failures of the parties of counted attempts, and for each attempt the wait that it met (milliseconds).

    An attempt that met a wait was not counted. *at*: time of all of them.
    """

    at: int
    waits: list[int]
    failures: dict[str, AttemptRecord]


def add(
    known: Mapping[str, AttemptRecord], attempts: Sequence[Sequence[str]], *, at: int, limits: AttemptLimits
) -> Counted:
    """Return the failures of the parties after the attempts, each of which is one of several parties."""
    failures = {party: known.get(party, AttemptRecord(party)) for attempt in attempts for party in attempt}
    waits = []
    for attempt in attempts:
        waits.append(max(failures[party].wait_ms(at, limits) for party in attempt))
        if not waits[-1]:
            failures |= {party: failures[party].and_one(at, limits) for party in attempt}
    return Counted(at, waits, failures)


_OF_PARTIES = (
    sa.select(*columns_of(AttemptRecord, failed_attempts))
    .where(failed_attempts.c.party.in_(sa.bindparam("parties", expanding=True)))
    .order_by(failed_attempts.c.party)  # two hubs lock them in the same order
)
_CHANGE = (
    sa.update(failed_attempts)
    .where(failed_attempts.c.party == sa.bindparam("of"))
    .values({name: sa.bindparam(name) for name in ("recent", "waits", "wait_ends_at", "failed_at")})
)


def count(
    c: sa.Connection,
    attempts: Sequence[Sequence[str]],
    *,
    limits: AttemptLimits,
    at: int | None,
    dropped: Collection[str] = (),
) -> Counted:
    """Count failed attempts, each of one or several parties.

    Args:
        at: None for the database's own time, as hubs with different clocks need it.
        dropped: parties of which nothing is kept any more.
    """
    parties = sorted({party for attempt in attempts for party in attempt})
    known = {
        record.party: record
        for part in in_parts(parties)
        for record in structs_from(AttemptRecord, c.execute(_OF_PARTIES.with_for_update(), {"parties": part}))
    }
    counted = add(known, attempts, at=_now(c) if at is None else at, limits=limits)
    changed = [one for party, one in sorted(counted.failures.items()) if one != known.get(party)]
    if fresh := [msgspec.structs.asdict(record) for record in changed if record.party not in known]:
        c.execute(sa.insert(failed_attempts), fresh)
    if older := [
        msgspec.structs.asdict(record) | {"of": record.party} for record in changed if record.party in known
    ]:
        c.execute(_CHANGE, older)
    for part in in_parts([*dropped]):
        c.execute(sa.delete(failed_attempts).where(failed_attempts.c.party.in_(part)))
    return counted


def wait_ms(c: sa.Connection, party: str, *, limits: AttemptLimits, at: int | None) -> int:
    """Return the rest of a party's wait, whichever hub made it wait."""
    found = structs_from(AttemptRecord, c.execute(_OF_PARTIES, {"parties": [party]}))
    now = _now(c) if at is None else at
    return max((record.wait_ms(now, limits) for record in found), default=0)


def _now(c: sa.Connection) -> int:
    return int(c.execute(sa.select(now_ms())).scalar_one())
