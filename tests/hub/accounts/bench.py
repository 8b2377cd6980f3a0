"""Accounts over a database in memory, and a strict OAuth server on loopback."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hub.accounts.connector_accounts import Accounts
from hub.accounts.grants import AccountConfig, TokenGrant
from hub.accounts.sealing_keys import KeyStore
from hub.accounts.sign_in import SignIns
from hub.base.clock import Chance, Clock, IdFactory, epoch_ms
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.connector import Account, Auth, Connector, Cursor, Message, OAuth, Page, ProviderSettings
from hub.links.device_link import DeviceLink
from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow, DeclaredConnector
from storage.store import Store, open_store
from tests.support.asgi import serving
from tests.support.clock import FakeClock, SeededChance
from tests.support.oauth import CLIENT, OAuthServer

ID = "connector-1"


class Where(ProviderSettings):
    base: str


class Mail(Connector):
    """A provider at the test's server."""

    provider = "mail"
    auth = Auth.OAUTH2
    settings_model = Where

    @classmethod
    def oauth(cls, settings: Any) -> OAuth | None:
        base = settings.base
        return OAuth(
            authorize_url=f"{base}/authorize",
            token_url=f"{base}/token",
            scopes=("mail.read",),
            device_url=f"{base}/device",
            revoke_url=f"{base}/revoke",
            authorize=(("prompt", "consent"),),
        )

    @classmethod
    def origins(cls, settings: Any) -> frozenset[str]:
        return frozenset({settings.base})

    async def check(self) -> Account:
        answer = await self.context.caller.ask("GET", f"{self.settings.base}/me")
        return Account(name=answer.json()["email"])

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        return
        yield

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[Any]:
        return
        yield


class Bench:
    """What a test of accounts has at hand."""

    def __init__(
        self,
        op: OAuthServer,
        base: str,
        store: Store,
        client: OutboundClient,
        state: Path,
        clock: Any,
        chance: Chance,
        *,
        kind: type[Mail] = Mail,
    ) -> None:
        self.op, self.base, self.store, self.client, self.state = op, base, store, client, state
        self.clock, self.chance = clock, chance
        self.ids = IdFactory(clock, chance)
        self.told: list[ConnectorRow] = []
        self.links: list[DeviceLink] = []
        self.accounts = self.process("process-1")
        self.sign_ins = self.signing(self.accounts)
        self.account = AccountConfig(
            name="work", provider="mail", kind=kind, settings=Where(base=base), client_id=CLIENT
        )
        self.accounts.apply([self.account])

    def process(self, owner: str, state: Path | None = None) -> Accounts:
        """Another process with the same database and state folder, or with a folder of its own."""
        made = Accounts(
            self.store,
            client=self.client,
            keys=KeyStore(state or self.state, chance=self.chance, environ={}),
            clock=self.clock,
            chance=self.chance,
            ids=self.ids,
            owner=owner,
            on_change=self.told.append,
        )
        if hasattr(self, "account"):
            made.apply([self.account])
        return made

    def signing(self, accounts: Accounts) -> SignIns:
        def links() -> Iterable[DeviceLink]:
            return self.links

        return SignIns(accounts, self.store, clock=self.clock, chance=self.chance, ids=self.ids, links=links)

    async def signed_in(self) -> str:
        """Somebody has signed in; the access token."""
        told: dict[str, Any] = self.op.consent()
        granted = TokenGrant(
            access_token=told["access_token"],
            refresh_token=told["refresh_token"],
            expires_at=epoch_ms(self.clock.now()) + round(self.op.ttl_s * 1_000),
            scopes=("mail.read",),
        )
        assert await self.accounts.granted(ID, granted, actor="me")
        return granted.access_token

    async def token(self, accounts: Accounts | None = None, rejected: str | None = None) -> str:
        return await (accounts or self.accounts).book.token(ID, self.account, rejected)

    async def state_of(self) -> str:
        return (await self.store.read(connectors.get_connector, "work")).state


@asynccontextmanager
async def bench(tmp_path: Path, *, clock: Clock | None = None, **of_server: Any) -> AsyncIterator[Bench]:
    """*clock*: by default one that stands still until the test moves it."""
    clock = clock or FakeClock()
    op = OAuthServer(lambda: clock.now().timestamp(), **of_server)
    async with (
        serving(op.app) as base,
        open_store("sqlite://") as store,
        OutboundClient(OutboundRules.parse([])) as client,
    ):
        one = DeclaredConnector(name="work", user_name="owner", provider="mail", needs_grant=True)
        declare = connectors.reconcile_connectors
        await store.write(declare, declared=[one], at=1, fresh_ids=[ID, "user-1"])
        yield Bench(op, base, store, client, tmp_path, clock, SeededChance())
