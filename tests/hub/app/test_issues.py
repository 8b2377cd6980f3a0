"""What a built hub looks at by itself, as far as only the whole of it can show."""

from pathlib import Path

import sqlalchemy as sa

from hub.api.nouns.issues import Issues
from protocol.lifecycles import RunEvent, RunState
from storage.devices import devices
from storage.devices.devices import Grant
from storage.runs import run_moves
from tests.hub.app.test_reload import opened_hub
from tests.storage.rows import AT, make_agent, make_run
from tests.support.presence import open_session


async def test_a_built_hub_tells_of_limits_that_were_reached(tmp_path: Path) -> None:
    async with opened_hub(tmp_path) as (hub, context):
        context.metrics.limits_reached.labels("users").inc()
        found = await hub.nouns.noun(Issues).all()
        assert ("limit.reached", "users") in {(issue.id, issue.subject) for issue in found}


async def test_a_built_hub_tells_of_runs_that_wait_for_a_model_and_of_a_device_without_a_grant(
    tmp_path: Path,
) -> None:
    def wait_and_take_back(c: sa.Connection) -> None:
        agent = make_agent(c)
        assert agent.device_id is not None
        open_session(c, agent.device_id, at=AT)
        run = make_run(c, agent=agent, state=RunState.RUNNING)
        run_moves.move(c, run.held, RunEvent.MODEL_AWAY, at=AT, actor="hub")
        assert run.device_id is not None
        devices.change_grants(c, run.device_id, add=(), remove=(Grant.FILES,), at=AT, actor="me")

    async with opened_hub(tmp_path) as (hub, context):
        await context.store.write(wait_and_take_back)
        found = await hub.nouns.noun(Issues).all()
        assert {"model.away", "device.no_files"} <= {issue.id for issue in found}
