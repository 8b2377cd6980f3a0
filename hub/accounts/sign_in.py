"""Sign-in to an account in a browser: which way is offered, and how long a sign-in stays open.

The ways, best first:

* **device**: a device of the person listens on its loopback address, opens the browser, and relays the
  provider's redirect.
* **paste**: the person opens the address, and pastes the address at which the browser ends.
* **code**: the person types a code at the provider, if the provider supports it.

The verifier and all tokens stay in the hub. The state of a sign-in is a sealed row, so it survives a restart
of the hub. Each answer counts once, and only within ten minutes.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final
from urllib.parse import parse_qs, urlsplit

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.accounts.connector_accounts import Accounts
from hub.accounts.grants import AccountConfig, Pending, authorize_url, fresh_secret
from hub.accounts.sealing_keys import KeyMissing, NotOpened
from hub.base.clock import Chance, Clock, IdFactory, epoch_ms
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.connectors.calling import ConnectorFailure, Unavailable
from hub.links.device_link import DeviceLink
from protocol.errors import DeliveryError, ErrorCode, HubError
from protocol.frame import Record
from protocol.ids import CallId, DeviceId
from protocol.tool_calls import Action, ToolCall
from storage.connectors import connectors
from storage.connectors.connectors import ConnectorRow, Outcome, SignInRow, Way, state_hash
from storage.store import Store

LIFE_MS: Final = 600_000
PASTE_PORT: Final = 53_699  # an unused port: the browser shows the address, which the person pastes
MAX_PAUSE_S: Final = 120.0
INTERRUPTED: Final = "it was interrupted; begin again"
_REFUSED: Final = {"access_denied": "it was not allowed", "consent_required": "consent is missing"}

log = Channel(__name__)


class SignInFailed(HubError):
    """A sign-in failed; ``str()`` gives the reason."""

    code = ErrorCode.SIGN_IN_FAILED


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in in progress.

    Attributes:
        url: address to open in a browser.
        user_code: code to type there; only for ``code``.
        device_id: the device that opened a browser.
    """

    id: str
    connector: str
    way: Way
    url: str
    user_code: str | None = None
    device_id: DeviceId | None = None
    expires_at: int


class _Secret(msgspec.Struct, frozen=True):
    """Sealed content of the row."""

    verifier: str = ""
    device_code: str = ""
    interval_s: float = 5.0

    def __repr__(self) -> str:
        return "_Secret(...)"


class SignIns:
    """Sign-ins from their start to the stored grant.

    Args:
        links: returns the links of the connected devices.
    """

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        *,
        clock: Clock,
        chance: Chance,
        ids: IdFactory,
        links: Callable[[], Iterable[DeviceLink]],
    ) -> None:
        self.loop = LoopReports(clock)
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = ids
        self._links = links
        self._fresh: list[str] = []
        self._has_fresh = anyio.Event()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Poll for device codes, including those of an earlier boot, until cancelled."""
        rows = await self._store.read(connectors.open_sign_ins)
        self._fresh += [row.id for row in rows if row.way == "code"]
        async with anyio.create_task_group() as watches:
            task_status.started()
            while True:
                self.loop.work()
                fresh, self._fresh, self._has_fresh = self._fresh, [], anyio.Event()
                for id in dict.fromkeys(fresh):
                    watches.start_soon(self._watch, id)
                self.loop.wait()
                await self._has_fresh.wait()

    async def begin(
        self, given: str, *, way: Way | None = None, actor: str, device_id: DeviceId | None = None
    ) -> Begun:
        """Begin a sign-in; an earlier one for the same connector ends.

        Args:
            given: the connector's name or id.
            way: None for a connected device, or else pasting.
            device_id: device that opens the browser; by default any device of the user.

        Raises:
            UnknownConnector, ConnectorFailure: the connector is unknown, or has no sign-in of this kind.
            SignInFailed: the device is not connected, or could not open a browser.
            BadKeys: this node lacks a key that another node may have.
        """
        row, account = await self._accounts.account(given)
        account.oauth()
        await self._accounts.check_keys()
        link = self._link(row, device_id)
        if way == "code":
            return await self._begin_code(row, account, actor)
        if way == "device" or (way is None and link is not None):
            if link is None:
                raise SignInFailed("no device that opens browsers is connected; sign in by pasting")
            return await self._begin_device(row, account, actor, link)
        redirect_uri = f"http://{account.oauth().loopback}:{PASTE_PORT}/"
        state, verifier = fresh_secret(self._chance), fresh_secret(self._chance)
        url = authorize_url(account, redirect_uri=redirect_uri, state=state, verifier=verifier)
        made = await self._write(
            row, "paste", state, _Secret(verifier=verifier), actor, redirect_uri=redirect_uri
        )
        return Begun(id=made.id, connector=row.name, way="paste", url=url, expires_at=made.expires_at)

    async def find(self, id: str) -> SignInRow:
        """Return a sign-in. Raises SignInFailed if it does not exist."""
        row = await self._store.read(connectors.find_sign_in, id)
        if row is None:
            raise SignInFailed("there is no such sign-in")
        return row

    async def pasted(self, address: str, *, id: str | None = None) -> SignInRow:
        """Process the address at which a browser ended.

        Raises:
            SignInFailed: the address has no answer, belongs to another sign-in, or the sign-in failed.
        """
        parameters = parse_qs(urlsplit(address.strip()).query)
        one = {name: parameters[name][0] for name in ("state", "code", "error") if parameters.get(name)}
        if "state" not in one:
            raise SignInFailed("that address holds no answer: paste all of it, from http:// to its end")
        return await self.answer(one["state"], code=one.get("code"), error=one.get("error"), id=id)

    async def answer(
        self,
        state: str,
        *,
        code: str | None = None,
        error: str | None = None,
        id: str | None = None,
        device_id: DeviceId | None = None,
    ) -> SignInRow:
        """Process a provider's redirect. Repeating the same answer has no effect.

        Args:
            id, device_id: required sign-in and device, if not None.

        Raises:
            SignInFailed: the sign-in failed, which is stored in its row too.
        """
        row = await self._store.read(connectors.find_by_state, state)
        if row is None or id not in (None, row.id) or device_id not in (None, row.device_id):
            raise SignInFailed("no sign-in waits for this answer")
        if row.outcome == "done":
            return row
        if row.outcome is not None:
            raise SignInFailed(row.problem or INTERRUPTED)
        if self._now() >= row.expires_at:
            await self._fail(row, "it took too long; begin again")
        if code is None:
            await self._fail(row, _REFUSED.get(error or "", "the provider refused it"))
        assert code is not None
        return await self._exchange(row, code)

    async def _exchange(self, row: SignInRow, code: str) -> SignInRow:
        _, account = await self._accounts.account(row.connector_id)
        secret = await self._open(row)
        with anyio.CancelScope(shield=True):  # a code is valid only once
            if not await self._settle(row, "failed", INTERRUPTED):  # until the result is known
                raise SignInFailed("it is being taken already")
            try:
                granted = await self._accounts.grants.exchange(
                    account, code=code, verifier=secret.verifier, redirect_uri=row.redirect_uri or ""
                )
            except ConnectorFailure as failure:
                await self._correct(row, "failed", str(failure))
                raise SignInFailed(str(failure)) from None
            if not await self._accounts.granted(row.connector_id, granted, actor=row.actor):
                raise SignInFailed("the connector is gone")
            await self._correct(row, "done", None)
        return await self.find(row.id)

    async def _begin_device(
        self, row: ConnectorRow, account: AccountConfig, actor: str, link: DeviceLink
    ) -> Begun:
        """Ask the device to listen, and then to open the browser: the address has the device's port."""
        state, verifier = fresh_secret(self._chance), fresh_secret(self._chance)
        made = await self._write(
            row, "device", state, _Secret(verifier=verifier), actor, device_id=link.device_id
        )
        life: Record = {"sign_in_id": made.id, "account": row.name, "expires_ms": LIFE_MS}
        try:
            answer = await _call(link, made.id, life | {"listen": True, "state": state})
            port = answer.get("port")
            if not isinstance(port, int) or not 0 < port < 65_536:
                raise SignInFailed("the device does not say where it listens")
            redirect_uri = f"http://{account.oauth().loopback}:{port}/"
            url = authorize_url(account, redirect_uri=redirect_uri, state=state, verifier=verifier)
            await self._store.write(connectors.aim_sign_in, made.id, redirect_uri)
            await _call(link, made.id, life | {"url": url})
        except SignInFailed as failure:
            await self._settle(made, "failed", str(failure))
            raise
        return Begun(
            id=made.id,
            connector=row.name,
            way="device",
            url=url,
            device_id=link.device_id,
            expires_at=made.expires_at,
        )

    async def _begin_code(self, row: ConnectorRow, account: AccountConfig, actor: str) -> Begun:
        authorization = await self._accounts.grants.begin_device(account)
        secret = _Secret(device_code=authorization.device_code, interval_s=authorization.interval_s)
        life_ms = round(authorization.expires_s * 1_000)
        made = await self._write(row, "code", fresh_secret(self._chance), secret, actor, life_ms=life_ms)
        self._fresh.append(made.id)
        self._has_fresh.set()
        return Begun(
            id=made.id,
            connector=row.name,
            way="code",
            url=authorization.verification_url,
            user_code=authorization.user_code,
            expires_at=made.expires_at,
        )

    async def _watch(self, id: str) -> None:
        """Poll until the code was typed, and never after that."""
        try:
            row = await self.find(id)
            _, account = await self._accounts.account(row.connector_id)
            secret = await self._open(row)
            await self._ask(row, account, secret)
        except SignInFailed as failure:
            log.warning("connector.sign_in_failed", sign_in_id=id, code=failure.code)
        except HubError as failure:
            await self._settle(row, "failed", str(failure))

    async def _ask(self, row: SignInRow, account: AccountConfig, secret: _Secret) -> None:
        pause_s = secret.interval_s
        while True:
            await self._clock.sleep(pause_s)
            if (await self.find(row.id)).outcome is not None:
                return
            if self._now() >= row.expires_at:
                await self._fail(row, "the code was not typed in time; begin again")
            try:
                with anyio.CancelScope(shield=True):
                    granted = await self._accounts.grants.ask_device(account, secret.device_code)
                    # In one transaction: otherwise a restart could present a used code again.
                    is_stored = await self._accounts.granted(
                        row.connector_id, granted, actor=row.actor, sign_in_id=row.id
                    )
                if not is_stored:
                    await self._fail(row, "the connector is gone")
                return
            except Pending as pending:
                pause_s += 5.0 if pending.slower else 0.0  # RFC 8628, 3.5
            except Unavailable:
                pause_s = min(MAX_PAUSE_S, pause_s * 2)
            except ConnectorFailure as failure:
                await self._fail(row, str(failure))

    def _link(self, row: ConnectorRow, device_id: DeviceId | None) -> DeviceLink | None:
        able = (
            link for link in self._links() if link.user_id == row.user_id and link.can(Action.BROWSER_OPEN)
        )
        return next((link for link in able if device_id in (None, link.device_id)), None)

    async def _write(
        self,
        row: ConnectorRow,
        way: Way,
        state: str,
        secret: _Secret,
        actor: str,
        *,
        redirect_uri: str | None = None,
        device_id: DeviceId | None = None,
        life_ms: int = LIFE_MS,
    ) -> SignInRow:
        id, now = self._ids.fresh(), self._now()
        ring = await self._accounts.keys.ring()
        key_id, sealed = ring.seal(secret, row=id, owner=row.id)
        made = SignInRow(
            id=id,
            connector_id=row.id,
            way=way,
            state_hash=state_hash(state),
            sealed=sealed,
            key_id=key_id,
            redirect_uri=redirect_uri,
            device_id=device_id,
            actor=actor,
            outcome=None,
            problem=None,
            created_at=now,
            expires_at=now + life_ms,
            settled_at=None,
        )
        await self._store.write(connectors.begin_sign_in, made)
        log.info("connector.sign_in_begun", connector=row.name, way=way)
        return made

    async def _open(self, row: SignInRow) -> _Secret:
        ring = await self._accounts.keys.ring()
        try:
            return ring.open(row.sealed, _Secret, row=row.id, owner=row.connector_id, key_id=row.key_id)
        except NotOpened as error:
            if isinstance(error, KeyMissing) and await self._accounts.book.has_others():
                raise SignInFailed(self._accounts.keys.missing(error.key_id)) from None
            await self._settle(row, "failed", str(error))
            raise SignInFailed(str(error)) from None

    async def _fail(self, row: SignInRow, problem: str) -> None:
        await self._settle(row, "failed", problem)
        raise SignInFailed(problem)

    async def _settle(self, row: SignInRow, outcome: Outcome, problem: str | None) -> bool:
        settle = partial(connectors.settle_sign_in, outcome=outcome, problem=problem, at=self._now())
        return await self._store.write(settle, row.id)

    async def _correct(self, row: SignInRow, outcome: Outcome, problem: str | None) -> None:
        correct = partial(connectors.correct_sign_in, outcome=outcome, problem=problem)
        await self._store.write(correct, row.id)

    def _now(self) -> int:
        return epoch_ms(self._clock.now())


async def _call(link: DeviceLink, sign_in_id: str, data: Record) -> Record:
    """Call the device and return its result. Raises SignInFailed."""
    step = "listen" if "listen" in data else "open"
    digest = hashlib.blake2b(f"{sign_in_id}/{step}".encode(), digest_size=16).hexdigest()
    frame = ToolCall(id=CallId(f"b-{digest}"), action=Action.BROWSER_OPEN, data=data, deadline_ms=30_000)
    try:
        answer = await link.call(frame)
    except DeliveryError as error:
        raise SignInFailed(f"the device did not take it: {error}") from None
    if answer.error is not None:
        raise SignInFailed(f"the device cannot open a browser: {answer.error.message}")
    return answer.result if isinstance(answer.result, dict) else {}
