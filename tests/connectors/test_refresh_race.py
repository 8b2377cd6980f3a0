"""Four processes with ten tasks each, one grant, a strict provider: each refresh happens once."""

import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

from hub.accounts.grants import Granted
from hub.accounts.keys import KeyStore
from hub.accounts.tokens import Kept
from hub.clock import SystemChance, SystemClock, epoch_ms
from storage.connectors import DeclaredConnector
from storage.store import connectors, credentials, grants, open_store
from tests.connectors.refreshing import ROUNDS
from tests.hub.accounts.bench import ID
from tests.support.asgi import serving
from tests.support.oauth import OAuthServer
from tests.support.postgres import Postgres

PROCESSES, TASKS, TTL_S = 4, 10, 1.0

pytestmark = pytest.mark.anyio


async def test_four_processes_refresh_one_grant_and_nobody_fails(postgres: Postgres, tmp_path: Path) -> None:
    clock = SystemClock()
    op = OAuthServer(lambda: clock.now().timestamp(), ttl_s=TTL_S)
    with postgres.bare_database() as url:
        async with serving(op.app) as base, open_store(url) as store:
            one = DeclaredConnector(name="work", user_name="owner", provider="mail", needs_grant=True)
            await store.write(connectors.reconcile_connectors, declared=[one], at=1, fresh_ids=[ID, "user-1"])
            told = op.consent()
            granted = Granted(
                access_token=str(told["access_token"]), refresh_token=str(told["refresh_token"])
            )
            ring = await KeyStore(tmp_path, chance=SystemChance(), environ={}).ring()
            kept = Kept(granted.access_token, granted.refresh_token)
            key_id, sealed = ring.seal(kept, row=ID, connector_id=ID)
            now = epoch_ms(clock.now())
            put = partial(
                grants.grant_connector,
                sealed=sealed,
                key_id=key_id,
                scopes=["mail.read"],
                expires_at=now + round(TTL_S * 1_000),
                at=now,
                actor="me",
                activity_id="a-1",
            )
            await store.write(put, ID)
            failures: list[int] = []

            async def process() -> None:
                command = [sys.executable, "-m", "tests.connectors.refreshing", url, base, str(tmp_path)]
                done = await anyio.run_process([*command, str(TASKS)], check=True, stderr=None)
                failures.append(int(done.stdout))

            async with anyio.create_task_group() as group:
                for _ in range(PROCESSES):
                    group.start_soon(process)
            row = await store.read(credentials.find_credential, ID)
            state = (await store.read(connectors.get_connector, "work")).state
    assert row is not None
    print(f"{PROCESSES * TASKS * ROUNDS} uses, {len(op.refreshes)} refreshes, failures {failures}")
    assert failures == [0] * PROCESSES
    assert set(op.refreshes) == {200}
    assert (row.version, state) == (1 + len(op.refreshes), "ok")
    assert [family.is_alive for family in op.families] == [True]
