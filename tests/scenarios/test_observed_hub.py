"""A real hub, looked at from outside while it works: log, metrics, traces, health, a dump."""

import json
import re
import signal
from os import kill
from pathlib import Path
from typing import Any

import anyio

from protocol.ids import RunId, trace_id_of
from tests.support.processes import POLL_S, DeviceProcess, HubProcess, closing

NOTES = "- [ ] call Ann by 2026-03-01\n- [ ] water the plants\n"


def events(hub: HubProcess) -> list[dict[str, Any]]:
    """What the hub wrote, without what it said to a person."""
    return [json.loads(line) for line in hub.log().splitlines() if line.startswith("{")]


async def logged(hub: HubProcess, event: str) -> list[dict[str, Any]]:
    """Wait until an event of that name is written; all of them."""
    with anyio.fail_after(60):
        while not (found := [entry for entry in events(hub) if entry["event"] == event]):
            await anyio.sleep(POLL_S)
        return found


async def test_a_hub_at_work_can_be_looked_into(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "list.md").write_text(NOTES)
    hub = HubProcess(tmp_path)
    async with closing(hub):
        await hub.start()
        token = await hub.token()
        device = DeviceProcess(tmp_path, await hub.device_url(), token)
        async with closing(device):
            await device.start()
            await logged(hub, "device.connected")
            run = await hub.ended(await hub.start_run())
            assert run["state"] == "COMPLETED"

            assert run["trace_id"] == trace_id_of(RunId(run["id"]))
            of_run = [entry for entry in events(hub) if entry.get("run_id") == run["id"]]
            assert {entry["event"] for entry in of_run} >= {"run.queued", "run.moved"}
            assert {entry["trace_id"] for entry in of_run} == {run["trace_id"]}
            told = await hub.get(f"/v1/logs?run={run['id'][-8:]}")
            assert {entry["event"] for entry in told["entries"]} >= {"run.queued", "run.moved"}

            for path in ("/healthz", "/readyz"):
                assert (await hub.ask("GET", path)).status_code == 200

            metrics = (await hub.ask("GET", "/metrics")).text
            assert 'hub_runs_total{outcome="success"} 1.0' in metrics
            assert 'hub_connections{role="device",state="ready"} 1.0' in metrics
            (commits,) = re.findall(r"^hub_db_commit_duration_seconds_count (\S+)$", metrics, re.MULTILINE)
            assert float(commits) > 5
            assert re.search(r"^hub_event_loop_lag_seconds_count [1-9]", metrics, re.MULTILINE)
            assert re.search(r"^hub_db_size_bytes [1-9]", metrics, re.MULTILINE)

            assert hub.process is not None
            kill(hub.process.pid, signal.SIGUSR1)
            (dumped,) = await logged(hub, "debug.dumped")
            assert dumped["connected"] == 1
            await logged(hub, "debug.thread")  # its lines come after those of all tasks
            tasks = await logged(hub, "debug.task")
            assert any("hub/runs/dispatcher.py" in place for task in tasks for place in task["stack"])
        assert token not in hub.log()
        assert await hub.stop() == 0
    assert events(hub)[-1]["event"] == "hub.stopped"
