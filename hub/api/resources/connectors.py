"""Routes of connectors: list, self-test, sign-in, password, and return of a grant to the provider."""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hub.accounts.connector_accounts import Accounts
from hub.accounts.sign_in import SignInFailed, SignIns
from hub.api.binding import BodyField
from hub.api.device import DeferredResponse, Link
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
    tool,
)
from hub.base.clock import Clock, from_epoch_ms
from hub.base.roles import Scope
from hub.connectors.calling import ConnectorFailure
from hub.connectors.connector import Connector, Message, Page, documents_of
from hub.document import Document
from protocol.causes import account_cause
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.ids import AgentId
from storage import audit
from storage.agents import agents
from storage.audit import AuditEntry
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import ConnectorRow
from storage.store import Connection, Store

UNREAD: Final = 50  # messages that could not be read, of one agent, in one response
TEST_PERIOD: Final = timedelta(days=90)  # in which a self-test looks for a message
_E = ErrorCode
_STEPS: Final = ("sign in", "list", "read", "read")  # of a self-test


class ConnectorView(View, kw_only=True):
    """A connector of hub.toml, and whether its runs may start.

    *state*: *ok*: it was read or tested, and the last time worked; *untested*: not yet with its present
    settings and sign-in; *failing*: it fails since *failures* tries, and its runs wait until *retry_at*;
    *sign_in*: it needs a sign-in; *blocked*: a person has to correct or allow something. *code* and
    *detail*: the cause; *remedy*: what mends it. *last_ok_at*: the last success with its present settings
    and sign-in. *account*: the account's name at the provider. *agents*: those that read it. *way_in*: how
    a person signs in; null: hub.toml names its secret, or it needs none.
    """

    id: str
    name: str
    user: str
    provider: str
    account: str | None = None
    state: Literal["ok", "untested", "failing", "sign_in", "blocked"]
    code: str | None = None
    detail: str | None = None
    remedy: str | None = None
    failures: int = 0
    retry_at: Instant | None = None
    last_ok_at: Instant | None = None
    agents: tuple[str, ...] = ()
    way_in: Literal["browser", "password"] | None = None


class UnreadView(View, kw_only=True):
    """A message that could not be read. *message*: a digest of its key; *state*: *failed* or *dead*."""

    agent: str
    message: str
    state: str
    attempts: int
    reason: str | None = None
    at: Instant


class ConnectorDetail(ConnectorView):
    """A connector with the messages that could not be read, newest first."""

    unread: tuple[UnreadView, ...] = ()


class SignInView(View, kw_only=True):
    """A sign-in that was begun.

    *way*: *device*: a browser was opened there; *paste*: open *url*, then paste the address that the browser
    ends at; *code*: open *url* and type *user_code*. *outcome*: none while it is open, *done* or *failed*.
    """

    id: str
    connector: str
    way: Literal["device", "paste", "code"]
    url: str | None = None
    user_code: str | None = None
    outcome: Literal["done", "failed"] | None = None
    problem: str | None = None
    expires_at: Instant


class StepView(View):
    """A step of a self-test. Its result has numbers and kinds only, no text of a message."""

    step: str
    is_ok: bool
    told: str
    took_ms: int


class SelfTestView(View):
    """The steps of a self-test. It has no private data, so that it can be pasted into a report."""

    provider: str
    is_ok: bool
    remedy: str | None = None
    steps: tuple[StepView, ...] = ()


class ForgottenView(View):
    """A grant that was given back. *is_revoked*: the provider confirmed it."""

    name: str
    is_revoked: bool


class Password(View):
    """The password, or app password, of an account. No response contains it."""

    password: Annotated[str, Meta(min_length=1, max_length=1_000)]

    def __repr__(self) -> str:
        return "Password(...)"


_Readers = Mapping[str, Mapping[AgentId, str]]  # names of agents by id, of each connector


class ConnectorsResource(Resource):
    """Connectors of hub.toml. A path names one by its name or id."""

    name, path = "connectors", "/v1/connectors"

    def __init__(self, store: Store, accounts: Accounts, sign_ins: SignIns, *, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._sign_ins = sign_ins
        self._clock = clock

    @command(
        "connectors ls",
        example="hub connectors ls",
        json="connectors",
        table=(
            "name as connector",
            "user as user~4",
            "provider as provider~3",
            "account as account~2",
            "*|connector_state as state",
            "last_ok_at|at as last success~1",
            "agents as read by",
        ),
        notes=("*|connector_problem",),
        empty="no connectors; add one to hub.toml: [[connectors]]",
    )
    @tool()
    @listed("", Scope.READ, key=lambda connector: (connector.name,))
    async def all(self, part: ListPart = ALL) -> list[ConnectorView]:
        """List the connectors by name, and whether they work."""

        def read(c: Connection) -> tuple[list[ConnectorRow], _Readers]:
            rows = connectors.list_connectors(c, user_id=self.user_id, limit=part.limit, after=part.after)
            return rows, agents.agents_by(c, "connector_id", [row.id for row in rows])

        rows, readers = await self._store.read(read)
        return [self._view(row, readers) for row in rows]

    @command(
        "connectors show CONNECTOR",
        example="hub connectors show mail",
        json="connector",
        facts=(
            "name as connector",
            "user",
            "provider",
            "account",
            "*|connector_state as state",
            "last_ok_at|moment as last success",
            "retry_at|moment as next try",
            "agents as read by",
        ),
        rows="unread",
        table=("agent", "message", "state", "attempts as tries", "reason", "at|at as last try"),
        notes=("*|connector_problem",),
    )
    @route("GET", "/{connector}", Scope.READ, errors=[_E.UNKNOWN_CONNECTOR])
    async def get(self, connector: str) -> ConnectorDetail:
        """Return a connector with the messages that could not be read."""

        def read(c: Connection) -> tuple[ConnectorRow, _Readers, list[UnreadView]]:
            row = connectors.get_connector(c, connector, user_id=self.user_id)
            readers = agents.agents_by(c, "connector_id", [row.id])
            unread = [
                _unread(name, failed_message)
                for agent_id, name in readers[row.id].items()
                for failed_message in seen_messages.failed_messages(c, agent_id, most=UNREAD)
            ]
            return row, readers, unread

        row, readers, unread = await self._store.read(read)
        return ConnectorDetail.from_row(self._view(row, readers), unread=tuple(unread))

    @command(
        "connectors test CONNECTOR",
        help="Sign in, list messages and read one. If that works, waiting runs may start again.",
        example="hub connectors test mail",
        json="test",
        rows="steps",
        table=("step", "is_ok|result as result", "took_ms as ms", "told as detail"),
        message="{*|remedy}",
        fails_if="is_ok|no",
    )
    @route("POST", "/{connector}/test", Scope.RUN, errors=[_E.UNKNOWN_CONNECTOR])
    @audited("connector.tested")
    async def test(self, connector: str, actor: Actor) -> SelfTestView:
        """Sign in, list messages and read one. If that works, its runs may start again.

        The response has no text of a message.
        """
        row = await self._find(connector)
        await self._note("connector.tested", row, actor)
        steps: list[StepView] = []
        try:
            opened = await self._accounts.open(row.id, {})
            try:
                await self._try(opened, steps)
            finally:
                await opened.aclose()
        except ConnectorFailure as failure:
            await self._accounts.test_failed(row.id, failure)
            steps.append(StepView(step=_STEPS[len(steps)], is_ok=False, told=str(failure), took_ms=0))
        is_ok = all(step.is_ok for step in steps)
        if is_ok:
            at = self._now
            await self._store.write(connectors.allow_connector, row.id, at=at)
            await self._store.write(connectors.note_success, row.id, at=at)
        remedy = None if is_ok else self._remedy(await self._find(row.id))
        return SelfTestView(provider=row.provider, is_ok=is_ok, remedy=remedy, steps=tuple(steps))

    async def _try(self, opened: Connector, steps: list[StepView]) -> None:
        began = self._clock.monotonic()
        account = await opened.check()
        steps.append(self._step("sign in", account.detail or "signed in", began))
        began = self._clock.monotonic()
        page = Page()
        async with aclosing(opened.pages(None, self._clock.now() - TEST_PERIOD)) as pages:
            async for page in pages:
                if page.messages:
                    break
        steps.append(self._step("list", f"{len(page.messages)} messages on the first page", began))
        if page.messages:
            began = self._clock.monotonic()
            async with aclosing(documents_of(opened, page.messages[:1])) as found:
                async for message, content in found:
                    steps.append(self._step("read", _shape(message, content), began))

    def _step(self, step: str, detail: str, began: float) -> StepView:
        took_ms = int((self._clock.monotonic() - began) * 1_000)
        return StepView(step=step, is_ok=True, told=detail, took_ms=took_ms)

    @command(
        "connectors retry CONNECTOR",
        example="hub connectors retry mail",
        json="connector",
        message="connector {name} is tried again; until then: {*|connector_state}",
    )
    @route("POST", "/{connector}/retry", Scope.RUN, errors=[_E.UNKNOWN_CONNECTOR])
    @audited("connector.tried_again")
    async def retry(self, connector: str, actor: Actor) -> ConnectorDetail:
        """Start the waiting runs of the connector at once; they try its unreadable messages again."""
        row = await self._find(connector)
        await self._note("connector.tried_again", row, actor)
        readers = await self._store.read(agents.agents_by, "connector_id", [row.id])
        for agent_id in readers[row.id]:
            await self._store.write(seen_messages.try_again, agent_id)
        await self._store.write(connectors.retry_now, row.id, at=self._now)
        return await self.get(connector)

    @route(
        "POST",
        "/{connector}/sign-in",
        Scope.DEVICES,
        errors=[
            *(_E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED, _E.BAD_CONNECTOR),
            *(_E.PROVIDER_UNAVAILABLE, _E.PROVIDER_BUSY),
        ],
        status=201,
    )
    @audited("connector.sign_in_begun")
    async def begin_sign_in(
        self,
        connector: str,
        actor: Actor,
        way: Annotated[
            Literal["device", "paste", "code"] | None,
            BodyField(
                "SignInRequest", "The way to sign in; by default through a connected device, else by pasting."
            ),
        ] = None,
    ) -> SignInView:
        """Begin a sign-in; an earlier one of the same connector ends."""
        row = await self._find(connector)
        begun = await self._sign_ins.begin(row.id, way=way, actor=actor)
        return SignInView.from_row(begun, connector=row.name)

    @route(
        "GET",
        "/{connector}/sign-in/{sign_in}",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED],
    )
    async def get_sign_in(self, connector: str, sign_in: str) -> SignInView:
        """Return a sign-in with its outcome."""
        row = await self._find(connector)
        found = await self._sign_ins.find(sign_in)
        if found.connector_id != row.id:
            raise SignInFailed("there is no such sign-in")
        return SignInView.from_row(found, connector=row.name)

    @route(
        "POST",
        "/{connector}/sign-in/answer",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED],
    )
    @audited("connector.sign_in_answered")
    async def answer_sign_in(
        self,
        connector: str,
        address: Annotated[
            str,
            Meta(min_length=1, max_length=8_000),
            BodyField("Pasted", "The address at which a browser ended after a sign-in."),
        ],
        actor: Actor,
    ) -> SignInView:
        """Finish a sign-in with the address at which the browser ended."""
        row = await self._find(connector)
        await self._note("connector.sign_in_answered", row, actor)
        answered = await self._sign_ins.pasted(address)
        if answered.connector_id != row.id:
            raise SignInFailed("that address is of another connector's sign-in")
        return SignInView.from_row(answered, connector=row.name)

    @route(
        "PUT",
        "/{connector}/password",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_CONNECTOR, _E.BAD_CONNECTOR],
    )
    @audited("connector.signed_in")
    async def set_password(self, connector: str, given: Password, actor: Actor) -> ConnectorDetail:
        """Store the password of the account, sealed, if hub.toml does not name its secret.

        No response and no log contains it. ``POST /v1/connectors/{connector}/test`` tries it.
        """
        row = await self._find(connector)
        await self._accounts.set_password(row.id, given.password, actor=actor)
        return await self.get(row.id)

    @command(
        "connectors rm CONNECTOR",
        example="hub connectors rm mail",
        json="forgotten",
        message="the grant of {name} is deleted; {is_revoked|revoked_at_provider}",
    )
    @route("DELETE", "/{connector}/grant", Scope.DEVICES, errors=[_E.UNKNOWN_CONNECTOR, _E.BAD_CONNECTOR])
    @audited("connector.forgotten")
    async def forget_grant(self, connector: str, actor: Actor) -> ForgottenView:
        """Give the grant back at the provider, and delete it."""
        row = await self._find(connector)
        is_revoked = await self._accounts.forget(row.id, actor=actor)
        return ForgottenView(name=row.name, is_revoked=is_revoked)

    @device(Method.SIGN_INS_ANSWER, "sign-ins begun at it")
    @audited("connector.sign_in_answered")
    async def finish_sign_in(
        self, link: Link, sign_in_id: str, state: str, code: str | None = None, error: str | None = None
    ) -> DeferredResponse:
        """Finish a sign-in with the redirect that the browser on a device received.

        The provider is asked while other requests are answered.
        """

        async def finished() -> dict[str, Any]:
            row = await self._sign_ins.answer(
                state, code=code, error=error, id=sign_in_id, device_id=link.device_id
            )
            return {"outcome": row.outcome}

        return DeferredResponse(finished)

    def _view(self, row: ConnectorRow, readers: _Readers) -> ConnectorView:
        return ConnectorView.from_row(
            row,
            state=_state(row),
            code=row.reason,
            remedy=self._remedy(row),
            agents=tuple(readers[row.id].values()),
            way_in=self._accounts.way_in(row.name),
        )

    def _remedy(self, row: ConnectorRow) -> str | None:
        state, is_granted = _state(row), self._accounts.way_in(row.name) is not None
        if state == "ok":
            return None
        code, was_reached = row.reason or state, row.last_ok_at is not None
        return account_cause(row.name, state, code, is_granted=is_granted, was_reached=was_reached).remedy

    async def _find(self, connector: str) -> ConnectorRow:
        return await self._store.read(connectors.get_connector, connector, user_id=self.user_id)

    async def _note(self, event: str, row: ConnectorRow, actor: str) -> None:
        at = self._now
        entry = AuditEntry(at=at, actor=actor, event=event, subject=row.id, detail={"name": row.name})
        await self._store.write(audit.append_entry, entry)


def _state(row: ConnectorRow) -> str:
    if row.state != "ok":
        return row.state
    if row.failures:
        return "failing"
    return "untested" if row.last_ok_at is None else "ok"


def _unread(agent: str, one: dict[str, object]) -> UnreadView:
    return UnreadView(
        agent=agent,
        message=str(one["key_hash"])[:12],
        state=str(one["state"]),
        attempts=int(str(one["attempts"])),
        reason=None if one["reason"] is None else str(one["reason"]),
        at=from_epoch_ms(int(str(one["seen_at"]))),
    )


def _shape(message: Message, content: object) -> str:
    """Describe a message by numbers, without its text."""
    if not isinstance(content, Document):
        return "it could not be read"
    lines = content.text.count("\n")
    return f"{len(content.text)} characters in {lines} lines, {len(message.attachments)} attachments"
