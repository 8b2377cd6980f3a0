"""Connectors, as operators are told of them; tried, signed in to, given back."""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Final, Literal

from hub.accounts.desk import Accounts
from hub.accounts.sign_in import SignInFailed, SignIns
from hub.api.views.connectors import (
    ConnectorDetail,
    ConnectorView,
    ForgottenView,
    SelfTestView,
    SignInView,
    StepView,
    UnreadView,
)
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.connectors.connector import Connector, Message, Page
from hub.connectors.failures import ConnectorFailure
from hub.document import Document
from hub.log import Channel
from hub.operations.names import user_names
from hub.operations.seen import Seen
from protocol.ids import UserId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.audit import audit
from storage.audit.audit import Entry
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import ConnectorRow
from storage.connectors.sign_ins import SignInRow
from storage.store import Store

log = Channel(__name__)

UNREAD: Final = 50  # messages of one agent that could not be read, told at once
LOOKS_BACK: Final = timedelta(days=90)  # a self-test, for a message to read


class ConnectorOperations(Seen):
    """Implements ``api.facades.connectors.ConnectorFacade``."""

    def __init__(self, store: Store, accounts: Accounts, sign_ins: SignIns, *, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._sign_ins = sign_ins
        self._clock = clock

    async def all(self) -> list[ConnectorView]:
        """All of them, by name."""
        names = await user_names(self._store)
        rows = await self._store.read(connectors.list_connectors, user_id=self.user_id)
        readers = await self._store.read(agents.list_agents)
        return [ConnectorView(**dict(_told(row, names, readers))) for row in rows]

    async def get(self, connector: str) -> ConnectorDetail:
        """One of them, with what could not be read."""
        row = await self._row(connector)
        readers = await self._store.read(agents.list_agents)
        unread = [
            _unread(agent, one)
            for agent in readers
            if agent.connector_id == row.id
            for one in await self._store.read(seen_messages.failed_messages, agent.id, most=UNREAD)
        ]
        told = _told(row, await user_names(self._store), readers)
        return ConnectorDetail(**dict(told), unread=tuple(unread))

    async def test(self, connector: str, *, actor: str) -> SelfTestView:
        """Sign in, list and read, and tell how that went."""
        row = await self._row(connector)
        await self._note("connector.tested", row, actor)
        steps: list[StepView] = []
        try:
            opened = await self._accounts.open(row.id, {})
            try:
                await self._try(opened, steps)
            finally:
                await opened.aclose()
        except ConnectorFailure as failure:
            steps.append(
                StepView(step=_NEXT[len(steps)], is_ok=False, told=f"{failure.code}: {failure}", took_ms=0)
            )
        is_ok = all(step.is_ok for step in steps)
        if is_ok:
            at = epoch_ms(self._clock.now())
            await self._store.write(connectors.allow_connector, row.id, at=at)
            await self._store.write(connectors.note_success, row.id, at=at)
        return SelfTestView(provider=row.provider, is_ok=is_ok, steps=tuple(steps))

    async def _try(self, opened: Connector, steps: list[StepView]) -> None:
        began = self._clock.monotonic()
        account = await opened.check()
        steps.append(self._step("sign in", account.detail or "signed in", began))
        began = self._clock.monotonic()
        page = Page()
        async with aclosing(opened.pages(None, self._clock.now() - LOOKS_BACK)) as pages:
            async for page in pages:
                if page.messages:
                    break
        steps.append(self._step("list", f"{len(page.messages)} messages on the first page", began))
        if page.messages:
            began = self._clock.monotonic()
            async with aclosing(opened.read(page.messages[:1])) as found:
                async for message, said in found:
                    steps.append(self._step("read", _shape(message, said), began))

    def _step(self, step: str, told: str, began: float) -> StepView:
        took_ms = int((self._clock.monotonic() - began) * 1_000)
        return StepView(step=step, is_ok=True, told=told, took_ms=took_ms)

    async def try_again(self, connector: str, *, actor: str) -> ConnectorDetail:
        """Forget that messages could not be read, and that it failed."""
        row = await self._row(connector)
        await self._note("connector.tried_again", row, actor)
        for agent in await self._store.read(agents.list_agents):
            if agent.connector_id == row.id:
                await self._store.write(seen_messages.try_again, agent.id)
        await self._store.write(connectors.note_success, row.id, at=epoch_ms(self._clock.now()))
        return await self.get(connector)

    async def sign_in(
        self, connector: str, way: Literal["device", "paste", "code"] | None, *, actor: str
    ) -> SignInView:
        """Begin a sign-in."""
        row = await self._row(connector)
        begun = await self._sign_ins.begin(row.id, way=way, actor=actor)
        return SignInView(
            id=begun.id,
            connector=row.name,
            way=begun.way,
            url=begun.url,
            user_code=begun.user_code,
            expires_at=from_epoch_ms(begun.expires_at),
        )

    async def answer(self, connector: str, address: str, *, actor: str) -> SignInView:
        """Take the address that a browser ended at."""
        row = await self._row(connector)
        await self._note("connector.sign_in_answered", row, actor)
        answered = await self._sign_ins.pasted(address)
        if answered.connector_id != row.id:
            raise SignInFailed("that address is of another connector's sign-in")
        return _sign_in(row, answered)

    async def sign_in_of(self, connector: str, id: str) -> SignInView:
        """How a sign-in stands."""
        row = await self._row(connector)
        found = await self._sign_ins.find(id)
        if found.connector_id != row.id:
            raise SignInFailed("there is no such sign-in")
        return _sign_in(row, found)

    async def forget(self, connector: str, *, actor: str) -> ForgottenView:
        """Give what was granted back, and forget it."""
        row = await self._row(connector)
        is_revoked = await self._accounts.forget(row.id, actor=actor)
        return ForgottenView(name=row.name, is_revoked=is_revoked)

    async def _row(self, connector: str) -> ConnectorRow:
        return await self._store.read(connectors.get_connector, connector, user_id=self.user_id)

    async def _note(self, event: str, row: ConnectorRow, actor: str) -> None:
        at = epoch_ms(self._clock.now())
        entry = Entry(at=at, actor=actor, event=event, subject=row.id, detail={"name": row.name})
        await self._store.write(audit.append_entry, entry)


_NEXT: Final = ("sign in", "list", "read", "read")


def _told(row: ConnectorRow, names: Mapping[UserId, str], readers: list[AgentRow]) -> ConnectorView:
    return ConnectorView(
        id=row.id,
        name=row.name,
        user=names[row.user_id],
        provider=row.provider,
        account=row.account,
        state=row.state,
        code=row.reason,
        detail=row.detail,
        failures=row.failures,
        retry_at=None if row.retry_at is None else from_epoch_ms(row.retry_at),
        last_ok_at=None if row.last_ok_at is None else from_epoch_ms(row.last_ok_at),
        agents=tuple(sorted(one.name for one in readers if one.connector_id == row.id)),
    )


def _unread(agent: AgentRow, one: dict[str, object]) -> UnreadView:
    return UnreadView(
        agent=agent.name,
        message=str(one["key_hash"])[:12],
        state=str(one["state"]),
        attempts=int(str(one["attempts"])),
        reason=None if one["reason"] is None else str(one["reason"]),
        at=from_epoch_ms(int(str(one["seen_at"]))),
    )


def _sign_in(row: ConnectorRow, found: SignInRow) -> SignInView:
    return SignInView(
        id=found.id,
        connector=row.name,
        way=found.way,
        outcome=found.outcome,
        problem=found.problem,
        expires_at=from_epoch_ms(found.expires_at),
    )


def _shape(message: Message, said: object) -> str:
    """What a message was like, without a word of it."""
    if not isinstance(said, Document):
        return "it could not be read"
    lines = said.text.count("\n")
    return f"{len(said.text)} characters in {lines} lines, {len(message.attachments)} attachments"
