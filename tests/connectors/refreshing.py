"""One process of the refresh race: ``... tests.connectors.refreshing URL BASE STATE TASKS PROVIDER``."""

import os
import sys
from pathlib import Path

import anyio

from hub.accounts.connector_accounts import Accounts
from hub.accounts.grants import AccountConfig
from hub.accounts.sealing_keys import KeyStore
from hub.base.clock import IdFactory, SystemChance, SystemClock
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from storage.store import open_store
from tests.connectors.oidc import OidcMail
from tests.hub.accounts.bench import ID, Mail, Where
from tests.support.oauth import CLIENT

ROUNDS = 8
PROVIDERS = {"ours": Mail, "oidc": OidcMail}


async def main(url: str, base: str, state: Path, tasks: int, provider: str) -> None:
    clock, chance = SystemClock(), SystemChance()
    failures = 0
    async with open_store(url) as store, OutboundClient(OutboundRules.parse([])) as client:
        accounts = Accounts(
            store,
            client=client,
            keys=KeyStore(state, chance=chance, environ={}),
            clock=clock,
            chance=chance,
            ids=IdFactory(clock, chance),
            owner=f"process-{os.getpid()}",
        )
        account = AccountConfig(
            name="work",
            provider="mail",
            kind=PROVIDERS[provider],
            settings=Where(base=base),
            client_id=CLIENT,
        )
        accounts.apply([account])

        async def work() -> None:
            nonlocal failures
            for _ in range(ROUNDS):
                try:
                    await (await accounts.open(ID, {})).check()
                except Exception as error:
                    print(repr(error), file=sys.stderr)
                    failures += 1
                await anyio.sleep(0.4)

        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(work)
    print(failures)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
