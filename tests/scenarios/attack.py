"""An attack: what is done to the hub, what it must answer, and how it went."""

from enum import StrEnum
from typing import Final

import msgspec

from tests.scenarios.attackers import Plan

AGENT: Final = "agent"  # as a role
MAX_GROWTH_MIB: Final = 24.0
MOST_PAUSED_LINES: Final = 10
AND_MORE: Final = ("429 rate_limited", "503 overloaded", "cut", "open")  # to those who come again and again


# One hub for all who attack what there may be few of.
SMALL: Final = """\
connections = 16
connections_per_network = 8
ping_interval_s = 0.3
ping_timeout_s = 1.0
run_files = 20
run_bytes = 262144
operator_connections = 32
"""


class Door(StrEnum):
    """Where an attack comes in."""

    DEVICES = "devices"
    OPERATORS = "operators"  # over TCP
    UNIX = "unix"  # the operators' socket
    HOOKS = "hooks"  # the webhooks' listener


class Attack(msgspec.Struct, kw_only=True, frozen=True):
    """One of them.

    Attributes:
        must: an answer that somebody gets; *may*: what else may be answered.
        limit: the name of the limit in ``[limits]`` that the hub counts as reached, if it is one of those.
        devices: so many devices of the attacker are paired, one socket each.
        role: the attacker is an operator of this role, or an ``agent``, with a token of its own.
        listen, limits: lines of the settings.
        given: other values of constants, as ``tests.support.faulty_hub`` takes them.
        files: what the hub may open.
        agents: so many, with long paths, are the first of the attacker's devices'.
        has_run: a person starts the first of these agents.
        is_slow: the hub counts it as one that does not read.
        has_operator_beside: an operator with a token asks from the attacker's address.
    """

    name: str
    plan: Plan
    must: str
    may: tuple[str, ...] = ()
    door: Door = Door.DEVICES
    limit: str = ""
    devices: int = 0
    role: str = ""
    listen: str = ""
    limits: str = ""
    given: tuple[str, ...] = ()
    files: int = 0
    agents: int = 0
    has_run: bool = False
    is_slow: bool = False
    has_operator_beside: bool = False


class Waits(msgspec.Struct, frozen=True):
    """Within how many ms 99 of 100 questions of somebody harmless are answered: before, and meanwhile."""

    quiet_ms: float
    busy_ms: float

    @property
    def times_quiet(self) -> float:
        """The one as a multiple of the other."""
        return self.busy_ms / self.quiet_ms


class Outcome(msgspec.Struct, frozen=True):
    """How one went."""

    answers: dict[str, int]
    reached: dict[str, float]  # limits, by name, as the hub counted them
    slow_consumers: float
    paused_lines: int  # of the hub's log, that nothing is accepted
    before_mib: float
    peak_mib: float
    waits: Waits  # of those who do no harm, the ones that suffered most
    cpu_share: float  # of a core, that the hub used during the attack
    back_in_s: float  # somebody else at the same door, once the attack is over

    @property
    def grown_mib(self) -> float:
        """What the hub's memory grew by at most."""
        return max(0.0, self.peak_mib - self.before_mib)


def faults(attack: Attack, outcome: Outcome) -> list[str]:
    """What is not as it must be; how long others wait is not among it."""
    found = []
    if not outcome.answers.get(attack.must):
        found.append(f"nobody was answered {attack.must}")
    others = outcome.answers.keys() - {attack.must, *attack.may}
    if others:
        found.append(f"somebody was answered {', '.join(sorted(others))}")
    if attack.limit and not outcome.reached.get(attack.limit):
        found.append(f"{attack.limit} was not reached: {outcome.reached}")
    if attack.is_slow and not outcome.slow_consumers:
        found.append("nobody was found not to read")
    if outcome.grown_mib > MAX_GROWTH_MIB:
        found.append(f"{outcome.grown_mib:.1f} MiB more")
    if outcome.paused_lines > MOST_PAUSED_LINES:
        found.append(f"{outcome.paused_lines} log lines")
    return found
