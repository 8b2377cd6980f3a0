"""What runs that wait need, and whether it is there: at their agent, or at the device that is connected.

Nobody needs anything in most hubs, so what has needs is found by an index of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.requirements import Unmet, unmet_by
from protocol.versions import ALWAYS_OFFERED
from storage.agents import capabilities
from storage.kernel.columns import in_parts
from storage.schema import runs

Offered = Mapping[DeviceId, Mapping[str, str]]  # what connected devices can do: versions by capability

NEEDS = sa.select(runs.c.id, runs.c.agent_id, runs.c.device_id, runs.c.needs)
# As text: a bound parameter could not use the index.
NEEDY_RUNS = NEEDS.where(sa.text("runs.state = 'QUEUED' AND runs.needs <> '[]'"))
NEEDS_OF = NEEDS.where(runs.c.id.in_(sa.bindparam("runs", expanding=True)), sa.text("runs.needs <> '[]'"))


def unmet_runs(c: sa.Connection, offered: Offered) -> dict[RunId, list[Unmet]]:
    """Queued runs that need what neither their agent nor their connected device has, and what that is."""
    return _unmet(c, c.execute(NEEDY_RUNS).all(), offered)


def unmet_of(c: sa.Connection, run_ids: Sequence[RunId], offered: Offered) -> dict[RunId, list[Unmet]]:
    """The same of these runs, in whichever state they are."""
    rows = [row for part in in_parts(run_ids) for row in c.execute(NEEDS_OF, {"runs": part})]
    return _unmet(c, rows, offered)


def _unmet(c: sa.Connection, rows: Sequence[Any], offered: Offered) -> dict[RunId, list[Unmet]]:
    if not rows:
        return {}
    enabled = capabilities.enabled_of(c, (row.agent_id for row in rows))
    known: dict[tuple[str, ...], list[Unmet]] = {}  # most runs of an agent need the same
    found: dict[RunId, list[Unmet]] = {}
    for row in rows:
        alike = (row.agent_id, row.device_id or "", *row.needs)
        if alike not in known:
            of_device = {**ALWAYS_OFFERED, **offered.get(row.device_id, {})}
            known[alike] = unmet_by(row.needs, of_device, enabled.get(AgentId(row.agent_id), {}))
        if known[alike]:
            found[RunId(row.id)] = known[alike]
    return found
