"""Unmet needs of waiting runs: capabilities of agent and device.

In most hubs no run has needs, so a separate index finds those that have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from protocol.capabilities import ALWAYS_OFFERED
from protocol.ids import AgentId, DeviceId, RunId
from protocol.requirements import Unmet, unmet_by
from storage.agents import capabilities
from storage.kernel.columns import in_parts, texts
from storage.schema import runs

Offered = Mapping[DeviceId, Mapping[str, str]]  # capabilities of connected devices: versions by capability

NEEDS = sa.select(runs.c.id, runs.c.agent_id, runs.c.device_id, runs.c.needs)
# As text: a bound parameter could not use the index.
NEEDY_RUNS = NEEDS.where(sa.text("runs.state = 'QUEUED' AND runs.needs <> '[]'"))
NEEDS_OF = NEEDS.where(runs.c.id.in_(sa.bindparam("runs", expanding=True)), sa.text("runs.needs <> '[]'"))


def unmet_runs(c: sa.Connection, offered: Offered) -> dict[RunId, list[Unmet]]:
    """Return the queued runs with needs that neither agent nor connected device meets, with these needs."""
    return _unmet(c, c.execute(NEEDY_RUNS).all(), offered)


def unmet_of(c: sa.Connection, run_ids: Sequence[RunId], offered: Offered) -> dict[RunId, list[Unmet]]:
    """Return the unmet needs of these runs, in any state."""
    rows = [row for part in in_parts(run_ids) for row in c.execute(NEEDS_OF, {"runs": part})]
    return _unmet(c, rows, offered)


def _unmet(c: sa.Connection, rows: Sequence[Any], offered: Offered) -> dict[RunId, list[Unmet]]:
    if not rows:
        return {}
    enabled = capabilities.enabled_of(c, (row.agent_id for row in rows))
    known: dict[tuple[str, ...], list[Unmet]] = {}  # most runs of an agent have the same needs
    found: dict[RunId, list[Unmet]] = {}
    for row in rows:
        needs = texts(row.needs)
        alike = (row.agent_id, row.device_id or "", *needs)
        if alike not in known:
            of_device = {**ALWAYS_OFFERED, **offered.get(row.device_id, {})}
            known[alike] = unmet_by(needs, of_device, enabled.get(AgentId(row.agent_id), {}))
        if known[alike]:
            found[RunId(row.id)] = known[alike]
    return found
