"""What must hold of decided fires, whatever died or slept meanwhile."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

EVERY_MS = 5_000  # between fires of a schedule in these scenarios: the least there is
EVERY_5_S = "schedule = { every_s = 5.0 }\n"  # of an agent in hub.toml

_FIRES = "SELECT schedule_id, first_at, fire_at FROM schedule_fires ORDER BY schedule_id, fire_at"
_RUNS_AMISS = """\
SELECT fires.schedule_id, fires.fire_at FROM schedule_fires AS fires WHERE decision = 'run' AND 1 <> (
  SELECT count(*) FROM runs WHERE fire_key = 's:' || fires.schedule_id || ':' || fires.fire_at)
"""
_RUNS_UNDECIDED = """\
SELECT runs.schedule_id, runs.fire_key FROM runs WHERE schedule_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM schedule_fires AS fires WHERE fires.run_id = runs.id AND decision = 'run')
"""

Ask = Callable[[str], Iterable[tuple[Any, ...]]]


def each_was_decided_once(ask: Ask) -> int:
    """Fails, saying which, unless each fire is in one row, and each that got a run in one run; how many rows.

    Args:
        ask: gives the rows of a query in the hub's database.
    """
    fires = list(ask(_FIRES))
    for earlier, later in pairwise(fires):
        if earlier[0] == later[0]:
            assert later[1] == earlier[2] + EVERY_MS, f"{later} does not follow {earlier}"
    assert (list(ask(_RUNS_AMISS)), list(ask(_RUNS_UNDECIDED))) == ([], [])
    return len(fires)
