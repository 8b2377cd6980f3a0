"""Items on their way to a device: the units they were found in, and the calls that bring them.

The door to three modules: ``units`` (files and messages of a run, and their ledger),
``plans`` (the calls a unit leads to) and ``calls`` (sent and settled). The ledger of
items, by which plans are decided, is ``storage.runs.items``.

The plan of a unit is written before its first call leaves, and a call is sent
again, with the same id, until it is answered. So whatever dies, an item is neither
lost nor delivered twice.
"""

from storage.runs.calls import OpenCall, mark_sent, open_calls, settle_call
from storage.runs.items import PlannedCall
from storage.runs.plans import ItemCaps, UnitPlan, plan_unit
from storage.runs.units import (
    StillOpen,
    UnitRow,
    count_units,
    fail_unit,
    find_unit,
    first_units,
    known_units,
    last_tried,
    postponed_units,
    settle_leaning,
    settle_unit,
    skip_units,
    units_of,
)

__all__ = [
    "ItemCaps",
    "OpenCall",
    "PlannedCall",
    "StillOpen",
    "UnitPlan",
    "UnitRow",
    "count_units",
    "fail_unit",
    "find_unit",
    "first_units",
    "known_units",
    "last_tried",
    "mark_sent",
    "open_calls",
    "plan_unit",
    "postponed_units",
    "settle_call",
    "settle_leaning",
    "settle_unit",
    "skip_units",
    "units_of",
]
