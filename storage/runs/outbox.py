"""Delivery of items to devices: the units they come from, and the calls that carry them.

Re-exports three modules: ``units`` (files and messages of a run, and their ledger), ``plans`` (the calls of a
unit) and ``calls`` (sending and settling). The ledger of items, on which plans are based, is
``storage.runs.items``. The plan of a unit is written before its first call is sent. A call is sent again with
the same id until it is answered. So after any crash an item is neither lost nor delivered twice.
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
