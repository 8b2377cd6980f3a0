"""A hub that died with many live runs. Ten thousand of them: ``python -m tests.scenarios.recovery``."""

from pathlib import Path

from tests.scenarios.recovery import expected, recover
from tests.scenarios.scene import rows
from tests.support.faulty_hub import FaultyHub

STATES = "SELECT state, reason, count(*) FROM runs GROUP BY 1, 2 ORDER BY 1, 2"
AGENTS = 40
UNTRUE_COUNTERS = """\
SELECT agent_id FROM agent_states AS told WHERE (runs_waiting, runs_executing, runs_running) <> (
  SELECT count(*) FILTER (WHERE state IN ('QUEUED', 'PAUSED')),
         count(*) FILTER (WHERE state IN ('PREPARING', 'RUNNING')),
         count(*) FILTER (WHERE state = 'RUNNING')
  FROM runs WHERE runs.agent_id = told.agent_id)
"""


async def test_killed_hub_recovers_the_executing_runs_before_readiness(tmp_path: Path) -> None:
    said, _ = await recover(tmp_path, FaultyHub(tmp_path), agents=AGENTS)
    assert said == expected(AGENTS)
    assert rows(tmp_path / "hub.db", STATES) == [
        ("CANCELLED", "not needed", said["cancelled"]),
        ("FAILED", "crash_loop", said["failed"]),
        ("PAUSED", None, AGENTS),  # its device is not there
        ("QUEUED", None, 3 * AGENTS),  # one of them a drain had paused
        ("QUEUED", "hub_restart", said["requeued"]),
    ]
    assert rows(tmp_path / "hub.db", UNTRUE_COUNTERS) == []
