"""Four processes with ten tasks each, one grant, a strict provider: each refresh happens once."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hub.base.clock import SystemChance, SystemClock
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.store import open_store
from tests.connectors.oidc import OidcMail, click_through, running_oidc, why_no_oidc
from tests.connectors.refreshing import ROUNDS
from tests.connectors.software import ASKED
from tests.hub.accounts.bench import ID, Bench, Mail
from tests.support.asgi import serving
from tests.support.oauth import OAuthServer
from tests.support.postgres import Postgres

PROCESSES, TASKS, TTL_S = 4, 10, 1.0

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(ASKED not in os.environ, reason="it waits for tokens to expire: make connector-check"),
]


async def test_four_processes_refresh_a_shared_grant_without_a_failure(
    postgres: Postgres, tmp_path: Path
) -> None:
    clock = SystemClock()
    op = OAuthServer(lambda: clock.now().timestamp(), ttl_s=TTL_S)
    with postgres.bare_database() as url:
        async with serving(op.app) as base, prepared(url, op, base, tmp_path, Mail) as b:
            await b.signed_in()
            await race(url, b, tmp_path, "ours")
            version, state = await version_of(b), await b.state_of()
    print(f"{PROCESSES * TASKS * ROUNDS} uses, {len(op.refreshes)} refreshes")
    assert set(op.refreshes) == {200}
    assert (version, state) == (1 + len(op.refreshes), "ok")
    assert [family.is_alive for family in op.families] == [True]


@pytest.mark.skipif(why_no_oidc() is not None, reason=str(why_no_oidc()))
async def test_no_process_fails_at_a_server_revoking_on_reuse(postgres: Postgres, tmp_path: Path) -> None:
    op = OAuthServer(lambda: 0.0)
    with postgres.bare_database() as url:
        async with running_oidc(tmp_path, ttl_s=1) as base, prepared(url, op, base, tmp_path, OidcMail) as b:
            begun = await b.sign_ins.begin("work", actor="me")
            assert begun.url is not None
            await b.sign_ins.pasted(await click_through(begun.url))
            await race(url, b, tmp_path, "oidc")
            version, state = await version_of(b), await b.state_of()
    print(f"{PROCESSES * TASKS * ROUNDS} uses, {version - 1} refreshes")
    assert 2 < version < PROCESSES * TASKS * ROUNDS / 4  # one each second, however long it takes
    assert state == "ok"


@asynccontextmanager
async def prepared(
    url: str, op: OAuthServer, base: str, folder: Path, kind: type[Mail]
) -> AsyncIterator[Bench]:
    """Accounts over that database, at the server at *base*, with a clock that runs."""
    async with open_store(url) as store, OutboundClient(OutboundRules.parse([])) as client:
        one = DeclaredConnector(name="work", user_name="owner", provider="mail", needs_grant=True)
        await store.write(connectors.reconcile_connectors, declared=[one], at=1, fresh_ids=[ID, "user-1"])
        yield Bench(op, base, store, client, folder, SystemClock(), SystemChance(), kind=kind)


async def race(url: str, b: Bench, folder: Path, provider: str) -> None:
    """All processes at once; each says how often it failed, which is never."""
    failures: list[int] = []

    async def process() -> None:
        command = [sys.executable, "-m", "tests.connectors.refreshing", url, b.base, str(folder), str(TASKS)]
        done = await anyio.run_process([*command, provider], check=True, stderr=None)
        failures.append(int(done.stdout))

    async with anyio.create_task_group() as group:
        for _ in range(PROCESSES):
            group.start_soon(process)
    assert failures == [0] * PROCESSES


async def version_of(b: Bench) -> int:
    row = await b.store.read(connectors.find_credential, ID)
    assert row is not None
    return row.version
