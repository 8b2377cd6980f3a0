"""The resolver against the model, around real changes of clocks: ``python -m tests.hub.schedules.fuzz``.

A case is a zone, one of its transitions from 2008 to 2037, an expression, and an instant
within a day or so of the transition. The next fires are asked of the resolver one by one and
must be those of the model, as long as the model's clock runs.
"""

import argparse
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import zip_longest
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from hub.schedules.cron import parse_cron
from hub.schedules.trigger import MINUTE_MS, CronTrigger, Trigger
from tests.hub.schedules.brute_force import Job, fires, wall_clock
from tests.hub.schedules.expressions import Draw, expression
from tests.support.clock import SeededChance

FIRST_YEAR: Final = 2008
LAST_YEAR: Final = 2037
MAX_FIRES: Final = 8  # of the resolver, in each case
CASES_EACH: Final = 3  # of one transition: its clock is the model's most expensive part

_HOUR: Final = 60
_DAY: Final = 24 * _HOUR
_BEFORE: Final = _DAY + 12 * _HOUR  # how long the model's clock runs, in minutes
_AFTER: Final = 2 * _DAY + 12 * _HOUR

Resolver = Callable[[str, ZoneInfo], Trigger]


class Transition(NamedTuple):
    """A zone's clocks are changed by *jump* minutes at *at*, in minutes since the epoch."""

    zone: ZoneInfo
    at: int
    jump: int


class Case(NamedTuple):
    transition: Transition
    expression: str
    after_ms: int


class Mismatch(NamedTuple):
    case: Case
    expected: list[int]  # UTC epoch milliseconds
    found: list[int | None]

    def __str__(self) -> str:
        case, jump = self.case, self.case.transition.jump
        return (
            f"{case.expression!r} in {case.transition.zone.key} after {_spell(case.after_ms)} "
            f"(clocks {'forward' if jump > 0 else 'back'} {abs(jump)} min at "
            f"{_spell(case.transition.at * MINUTE_MS)}):\n"
            f"    model    {' '.join(map(_spell, self.expected))}\n"
            f"    resolver {' '.join(map(_spell, self.found))}"
        )


@dataclass
class Tally:
    """What was tried, and what came of it."""

    cases: int = 0
    fires: int = 0
    transitions: set[tuple[str, int]] = field(default_factory=set)
    jumps: set[int] = field(default_factory=set)
    mismatches: list[Mismatch] = field(default_factory=list)

    def __str__(self) -> str:
        years = [datetime.fromtimestamp(at * 60, UTC).year for _, at in self.transitions]
        return "\n".join(
            (
                f"cases        {self.cases}",
                f"fires        {self.fires}",
                f"zones        {len({key for key, _ in self.transitions})}",
                f"transitions  {len(self.transitions)}",
                f"years        {min(years)}-{max(years)}",
                f"jumps        {' '.join(f'{jump:+d}' for jump in sorted(self.jumps))} minutes",
                f"mismatches   {len(self.mismatches)}",
            )
        )


class Lot:
    """A ``Draw`` from a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = SeededChance(seed)

    def integer(self, low: int, high: int) -> int:
        return low + int.from_bytes(self._chance.token_bytes(6), "big") % (high - low + 1)


def resolver(text: str, zone: ZoneInfo) -> Trigger:
    """The hub's own."""
    return CronTrigger(parse_cron(text), zone)


def run(cases: int, seed: int, zones: Sequence[str], resolve: Resolver = resolver) -> Tally:
    """Try so many cases in *zones*, at least one of which has a transition."""
    draw, tally = Lot(seed), Tally()
    transitions = _in_turn(zones, draw)
    while tally.cases < cases:
        transition = next(transitions)
        tally.transitions.add((transition.zone.key, transition.at))
        tally.jumps.add(transition.jump)
        shown = wall_clock(transition.zone, transition.at - _BEFORE, _BEFORE + _AFTER)
        around = datetime.fromtimestamp(transition.at * 60, transition.zone).replace(tzinfo=None)
        for _ in range(min(CASES_EACH, cases - tally.cases)):
            near = 5 * _HOUR if draw.integer(0, 3) else _DAY
            after_ms = (transition.at + draw.integer(-near, near)) * MINUTE_MS
            if draw.integer(0, 3) == 0:
                after_ms += draw.integer(0, MINUTE_MS - 1)
            case = Case(transition, expression(draw, around), after_ms)
            expected = _of_the_model(case, shown)
            found = list(_of_the_resolver(case, resolve))
            seen = [fire for fire in found if _is_within(case, fire)]
            tally.cases += 1
            tally.fires += len(expected)
            if seen != expected or None in found:
                tally.mismatches.append(Mismatch(case, expected, found))
    return tally


@cache
def transitions_of(key: str) -> tuple[Transition, ...]:
    """Every change of a zone's offset in those years, looked for twice a day and then by the minute."""
    zone = ZoneInfo(key)
    found = []
    step = _DAY // 2
    start = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()) // 60
    end = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) // 60
    before = _offset(zone, start)
    for probe in range(start + step, end, step):
        offset = _offset(zone, probe)
        if offset != before:
            minutes = range(probe - step, probe)
            at = minutes[0] + bisect_left(minutes, True, key=lambda m: _offset(zone, m) != before)
            found.append(Transition(zone, at, offset - before))
            before = offset
    return tuple(found)


def _in_turn(zones: Sequence[str], draw: Draw) -> Iterator[Transition]:
    """One transition of each zone after another, shuffled; all before any comes again."""
    piles = [_shuffled(transitions_of(key), draw) for key in zones]
    while True:
        for row in zip_longest(*piles):
            yield from (transition for transition in row if transition is not None)


def _shuffled(transitions: Sequence[Transition], draw: Draw) -> list[Transition]:
    left = list(transitions)
    return [left.pop(draw.integer(0, len(left) - 1)) for _ in transitions]


def _of_the_model(case: Case, shown: list[int]) -> list[int]:
    start = case.transition.at - _BEFORE
    all_of_them = [(start + at) * MINUTE_MS for at in fires(Job(case.expression), shown)]
    first = bisect_right(all_of_them, case.after_ms)
    return all_of_them[first : first + MAX_FIRES]


def _of_the_resolver(case: Case, resolve: Resolver) -> Iterator[int | None]:
    trigger = resolve(case.expression, case.transition.zone)
    at: int | None = case.after_ms
    for _ in range(MAX_FIRES):
        at = trigger.next_after(at) if at is not None else None
        yield at
        if at is None or not _is_within(case, at):
            return


def _is_within(case: Case, fire: int | None) -> bool:
    return fire is not None and fire < (case.transition.at + _AFTER) * MINUTE_MS


def _offset(zone: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def _spell(at_ms: int | None) -> str:
    if at_ms is None:
        return "never"
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hub.schedules.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=39_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    began = time.perf_counter()
    tally = run(chosen.cases, chosen.seed, sorted(available_timezones()))
    seconds = time.perf_counter() - began
    lines = [
        *map(str, tally.mismatches),
        str(tally),
        f"{tally.cases} cases of seed {chosen.seed}: {len(tally.mismatches)} mismatches, {seconds:.0f} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if tally.mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
