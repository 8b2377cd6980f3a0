"""What a row of the result says, and when it is good, short of its goal, or a failure."""

from enum import StrEnum
from typing import Final, NamedTuple

from tests.bench.rounds import Ratio

MAX_SLOWER = 1.1  # of the last release
MAX_SPREAD = 2.0  # of one row's rounds; they agree within a third unless the machine's host is busy too


class Verdict(StrEnum):
    """How a row came out. Only FAIL makes the whole run fail."""

    OK = "ok"
    BELOW_GOAL = "below goal"
    FAIL = "FAIL"
    NO_VERDICT = "no verdict"  # others used the machine, or it moved under us
    NONE = "-"  # for information: it has no goal


class Goal(NamedTuple):
    """A bound of the median. Beyond *hard*, where there is one, the run fails."""

    bound: float
    hard: float | None = None
    is_most: bool = False  # the median may be at most the bound, instead of at least
    unit: str = "x"
    is_paired: bool = False  # it is missed when all of the interval of the pairs is beyond *hard*

    @property
    def text(self) -> str:
        sign = "<=" if self.is_most else ">="
        text = f"{sign} {_figure(self.bound, self.unit)}"
        if self.hard is not None and self.hard != self.bound:
            text += f", fail < {_figure(self.hard, '')}"
        elif self.hard is not None:
            text += " gate"
        return text

    def is_met_by(self, value: float) -> bool:
        return self._holds(value, self.bound)

    def is_missed_by(self, reached: Ratio) -> bool:
        value = reached.spread.middle
        if self.is_paired:
            if reached.interval is None:
                return False
            value = reached.interval[0 if self.is_most else 1]
        return self.hard is not None and not self._holds(value, self.hard)

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.is_most else value >= bound


def at_least(bound: float, *, hard: float | None = None) -> Goal:
    """A ratio that is only reported when it is short of *bound*, and fails under *hard*."""
    return Goal(bound, hard)


def at_most(bound: float, unit: str = "x") -> Goal:
    """A figure that fails above *bound*."""
    return Goal(bound, bound, is_most=True, unit=unit)


def gate(bound: float) -> Goal:
    """A ratio that fails under *bound*."""
    return Goal(bound, bound)


# A row that got slower than the last release by a tenth, and whose interval excludes less, fails.
NOT_SLOWER: Final = Goal(MAX_SLOWER, MAX_SLOWER, is_most=True, is_paired=True)


class Row(NamedTuple):
    """One line of the result. *number* is the row of the performance page it answers."""

    number: str
    what: str
    goal: Goal | None
    reached: Ratio
    is_timed: bool = True  # memory and CPU time are nearly the same whatever others do
    unit: str = "x"

    @property
    def verdict(self) -> Verdict:
        if self.goal is None:
            return Verdict.NONE
        if self.is_timed and not self.reached.is_quiet:
            return Verdict.NO_VERDICT
        least, middle, most = self.reached.spread
        if self.is_timed and most > MAX_SPREAD * least:
            return Verdict.NO_VERDICT
        if self.goal.is_missed_by(self.reached):
            return Verdict.FAIL
        return Verdict.OK if self.goal.is_met_by(middle) else Verdict.BELOW_GOAL

    @property
    def goal_text(self) -> str:
        return self.goal.text if self.goal else "-"

    @property
    def interval_text(self) -> str:
        """Say where the true ratio is, for a goal that is about that."""
        if self.goal is None or not self.goal.is_paired or self.reached.interval is None:
            return ""
        return "95 % in " + " to ".join(_figure(end, "") for end in self.reached.interval)

    @property
    def reached_text(self) -> str:
        return " / ".join(_figure(value, "") for value in self.reached.spread) + (
            "" if self.unit == "x" else f" {self.unit}"
        )


def _figure(value: float, unit: str) -> str:
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}" if unit not in ("", "x") else text
