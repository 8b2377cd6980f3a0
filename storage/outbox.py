"""Items on their way to a device: the units they were found in, and the calls that bring them.

The door to three modules: ``units`` (files and messages of a run, and the ledger),
``plans`` (the calls a unit leads to) and ``calls`` (sent and settled).

The plan of a unit is written before its first call leaves, and a call is sent
again, with the same id, until it is answered. So whatever dies, an item is neither
lost nor delivered twice.
"""

from storage.calls import OpenCall, mark_sent, open_calls, settle_call
from storage.plans import PlannedCall, UnitPlan, plan_unit
from storage.units import (
    StillOpen,
    UnitRow,
    count_units,
    fail_unit,
    find_unit,
    known_units,
    settle_unit,
    skip_units,
    units_of,
)

__all__ = [
    "OpenCall",
    "PlannedCall",
    "StillOpen",
    "UnitPlan",
    "UnitRow",
    "count_units",
    "fail_unit",
    "find_unit",
    "known_units",
    "mark_sent",
    "open_calls",
    "plan_unit",
    "settle_call",
    "settle_unit",
    "skip_units",
    "units_of",
]
