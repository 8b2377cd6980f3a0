"""What a built hub looks at by itself, as far as only the whole of it can show."""

from contextlib import AsyncExitStack
from pathlib import Path

from hub.assembly import Hub
from tests.hub.assembly.test_taking_up import grounded


async def test_a_built_hub_tells_of_limits_that_were_reached(tmp_path: Path) -> None:
    async with grounded(tmp_path) as ground, AsyncExitStack() as resources:
        hub = Hub(ground)
        await hub.open(resources)
        ground.metrics.limits_reached.labels("users").inc()
        found = await hub._operations.issues.all()
        assert ("limit.reached", "users") in {(issue.id, issue.subject) for issue in found}
