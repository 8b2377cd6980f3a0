"""A hub behind PgBouncer names the option that its address lacks. Outages: ``outages``."""

from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest

from storage.kernel.database import POOLED
from tests.support.pgbouncer import running_pgbouncer, why_no_pgbouncer
from tests.support.postgres import Postgres
from tests.support.processes import HubProcess, Program

IGNORED = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,jit,extra_float_digits,"
    "tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
)
SETTINGS = """\
[storage]
url = "{url}"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
"""


@pytest.mark.slow
@pytest.mark.skipif(why_no_pgbouncer() is not None, reason="no PgBouncer on this machine")
async def test_hub_behind_pgbouncer_without_the_option_runs_and_names_the_option(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url, running_pgbouncer(postgres, connections=4, ignored=IGNORED) as address:
        hub = HubProcess(tmp_path, settings=SETTINGS.format(url=f"{address}/{url.rpartition('/')[2]}"))
        try:
            # Without the readiness that ``hub.start`` waits for: it comes and goes with the statements.
            await Program.start(hub)
            await hub.says(POOLED, within_s=120)
            explanations: list[str] = []

            async def ask(path: str) -> None:
                with suppress(httpx2.HTTPError):
                    issues = (await hub.get(path)).get("issues", [])
                    explanations.extend(
                        issue["explanation"] for issue in issues if issue["id"] == "database.away"
                    )

            with anyio.fail_after(60):
                while not any(POOLED in explanation for explanation in explanations):
                    # PgBouncer gives a hub that asks one thing at a time the same connection, which has all.
                    async with anyio.create_task_group() as requests:
                        for path in ("/v1/issues?anew=true", "/v1/runs", "/v1/agents", "/v1/items") * 3:
                            requests.start_soon(ask, path)
            assert hub.is_running and "Traceback" not in hub.log()
        finally:
            await hub.close()
