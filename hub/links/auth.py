"""Authentication of a device's hello: token or key, admission, pairing or refusal.

A device's statements about itself are displayed but not trusted. Its token decides, or the key that signed
the hello. Only SHA-256 hashes of tokens are kept in memory and in the database. Tokens are long and random,
so a slow hash would only help attackers to keep the hub busy.

After too many failures a party has to wait, but its credential is checked first. A valid token or key is
admitted despite failed attempts by others. A key that was named without proof counts only against the
network. Otherwise an attacker could lock out a device.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from hub.base.call_coalescer import CallCoalescer
from hub.base.clock import Chance, Clock, now_ms
from hub.base.log import Channel, learn_names
from hub.base.metrics import Metrics
from hub.base.tokens import hash_token
from hub.base.toml.limits import DEFAULTS
from hub.links.connection_limits import RETRY_S
from hub.links.device_keys import BadProof, check_hello, read_key
from hub.links.failed_attempts import FailedAttempts
from hub.links.hosts import network_of
from hub.links.pairing import PairingDesk, label_of
from hub.links.refusals import HelloRefusal, Peer, RefusalSamples, RefusedPeers
from protocol.capabilities import CapabilityName
from protocol.causes import left_by
from protocol.errors import CloseCode, ErrorCode, HubError, connect_command
from protocol.handshake import (
    Challenge,
    Client,
    DeviceHello,
    Identity,
    StoreMark,
)
from protocol.ids import BootId, ConnectionId, DeviceId, KeyId, TokenId, UserId
from storage import audit
from storage.devices import credential_copies as devices_credential_copies
from storage.devices.attempts import AttemptLimits
from storage.devices.credential_copies import Copy, Origin
from storage.devices.devices import TokenRevoked, UnknownDevice
from storage.devices.keys import KeyOwner, KeyRevoked
from storage.devices.tokens import DeviceTokenRow
from storage.effects import sessions
from storage.effects.sessions import Opened, Opening, Owner, TooManyDevices
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

AT_ONCE: Final = 200  # devices of one transaction, which blocks other writers for at most 0.1 s
SKEW_LOGGED_MS: Final = 60_000  # larger clock differences are logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A hello with all data needed to authenticate it.

    Attributes:
        challenge: challenge sent over this connection.
        token: from the hello or the ``Authorization`` header.
        address: source of the connection, as given by the socket or a trusted proxy.
    """

    hello: DeviceHello
    challenge: Challenge
    token: str | None
    address: str
    connection_id: ConnectionId


@dataclass(frozen=True, slots=True)
class Admission:
    """An authenticated device, with the sequence number of this connection among the device's.

    Attributes:
        credential: ``token:ID`` or ``key:ID``, used to open the connection.
        expires_at: when the credential expires (epoch milliseconds); None if never.
        store: state of the device's store that the hub knew before this connection.
        origin: machine and program of the connection.
    """

    device_id: DeviceId
    user_id: UserId
    epoch: int
    credential: str = ""
    expires_at: int | None = None
    store: StoreMark | None = None
    origin: Origin = field(default_factory=Origin)


class Authenticator:
    """Checks tokens and keys with the database."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        boot_id: BootId,
        attempts: AttemptLimits | None = None,
        takeover_wait_s: Callable[[DeviceId], float] = lambda _: 0.0,
        connections_per_user: int = DEFAULTS.connections_per_user,
        on_taken: Callable[[DeviceId, int, BootId], None] = lambda *_: None,
        on_due: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up the authenticator.

        Args:
            boot_id: process of the hub that has the connections.
            takeover_wait_s: returns the seconds during which a connected device cannot be taken over.
            connections_per_user: maximum number of connected devices of a user, at all hubs together.
            on_taken: called with a device that connected while another process of the hub had it, with its
                epoch and that process.
            on_due: called when a schedule waited for a connection that was opened.
        """
        self.connections_per_user = connections_per_user
        self._store = store
        self._boot_id = boot_id
        self.on_taken = on_taken
        self._on_due = on_due
        self._clock = clock
        self._metrics = metrics
        self.failed = FailedAttempts(store, clock, kind="device", limits=attempts)
        self._samples = RefusalSamples(clock)
        self.refused = RefusedPeers(clock)
        self._desk = PairingDesk(store, clock=clock, chance=chance, metrics=metrics)
        self._takeover_wait_s = takeover_wait_s
        self._owners = CallCoalescer[bytes | KeyId, Owner | None](self._find_owners, max_items=AT_ONCE)
        self._openings = CallCoalescer[Opening, Opened](self._open_all, max_items=AT_ONCE)

    def shut_out(self) -> Iterator[tuple[str, float]]:
        """Return the waiting parties with the seconds that they have to wait."""
        return self.failed.waiting()

    async def admit(self, knock: Knock) -> Admission:
        """Authenticate a device and open its session in the database.

        Raises:
            Refusal: with the error to send and the close code; no session was opened.
        """
        network, hello = network_of(knock.address), knock.hello
        peer = Peer(
            network=network,
            name=label_of(hello) if hello.device_id else "",
            store="" if hello.store is None else hello.store.id,
        )
        try:
            admission = await self._judge(knock, network)
        except HelloRefusal as judged:
            refusal = await self._count(judged, network)
            if refusal.error.pairing_code is None:  # waiting for a person is not a failure
                self._metrics.auth_failures.labels(refusal.error.code).inc()
                error = judged.error  # of the device, also while it has to wait
                self.refused.note(
                    replace(peer, device_id=judged.device_id, credential=judged.party or ""),
                    error.code,
                    error.message,
                    error.hint or "",
                )
                await self._record_refusal(network, refusal.error.code)
            raise refusal from None
        self.refused.forget(replace(peer, device_id=admission.device_id, credential=admission.credential))
        return admission

    async def note_replaced(self, admission: Admission) -> Copy | None:
        """Note that a device still answered when another connection took its place.

        Return the two machines, if its credential is on two.
        """
        copy = await self._store.write(
            devices_credential_copies.note_replaced,
            admission.device_id,
            admission.origin,
            at=now_ms(self._clock),
        )
        if copy is not None:
            log.warning(
                "device.copied",
                device_id=admission.device_id,
                older=str(copy.older),
                newer=str(copy.newer),
            )
        return copy

    async def release(self, admission: Admission, reason: str | None = None) -> None:
        """Close the session; the device is offline, unless a newer connection exists.

        Args:
            reason: why the connection ended, as one word, or None if unknown.
        """
        at_ms = now_ms(self._clock)
        await self._store.write(
            sessions.close_session, admission.device_id, admission.epoch, at_ms, reason=left_by(reason)
        )

    async def _judge(self, knock: Knock, network: str) -> Admission:
        hello = knock.hello
        if hello.identity is not None:
            if knock.token:
                message = "the device shows a token and a key; one of them is enough"
                raise HelloRefusal(ErrorCode.AUTH_FAILED, message, CloseCode.AUTH_FAILED)
            return await self._judge_key(knock, hello.identity, network)
        if not knock.token:
            message = (
                "an invitation comes with a key"
                if hello.invitation
                else "the device showed no key and no token"
            )
            raise HelloRefusal(ErrorCode.PAIRING_REQUIRED, message, CloseCode.PAIRING_REQUIRED)
        return await self._judge_token(knock.token, knock)

    # --- tokens ---

    async def _judge_token(self, token: str, knock: Knock) -> Admission:
        owner = await self._owners.run(hash_token(token))
        assert owner is None or isinstance(owner, DeviceTokenRow)
        if owner is None:
            raise HelloRefusal(ErrorCode.AUTH_FAILED, "this token is unknown", CloseCode.AUTH_FAILED)
        credential = f"token:{owner.id}"
        if owner.device_revoked_at is not None:
            raise _revoked("the device was revoked", credential, owner)
        if owner.revoked_at is not None:
            raise _revoked("the token was revoked", credential, owner)
        if owner.expires_at is not None and owner.expires_at <= now_ms(self._clock):
            message = "the token has expired"
            raise HelloRefusal(
                ErrorCode.AUTH_FAILED,
                message,
                CloseCode.AUTH_FAILED,
                party=credential,
                device_id=owner.device_id,
            )
        return await self._open(owner, owner.id, knock, credential, owner.expires_at)

    # --- keys ---

    async def _judge_key(self, knock: Knock, identity: Identity, network: str) -> Admission:
        hello = knock.hello
        try:
            key = read_key(identity.public_key)
        except BadProof as exc:
            raise HelloRefusal(exc.code, str(exc), CloseCode.AUTH_FAILED) from exc
        try:
            check_hello(key, identity, knock.challenge, hello)
        except BadProof as exc:  # not counted against the key, which the peer may not hold
            raise HelloRefusal(exc.code, str(exc), CloseCode.AUTH_FAILED) from exc
        credential = f"key:{key.id}"
        off_ms = identity.signed_at_ms - now_ms(self._clock)
        if abs(off_ms) > SKEW_LOGGED_MS:
            log.warning("device.clock_off", connection_id=knock.connection_id, seconds=off_ms // 1000)
        owner = await self._owners.run(key.id)
        assert owner is None or isinstance(owner, KeyOwner)
        if owner is None and hello.invitation is not None:
            owner = await self._desk.redeem(key, hello.invitation, hello)
        if owner is None:
            if wait_s := max(map(self.failed.wait_s, (network, credential))):
                raise self._too_many(wait_s)
            raise await self._desk.ask(key, hello, network=network, connection_id=knock.connection_id)
        self._desk.forget(key.id)
        if owner.device_revoked_at is not None:
            raise _revoked("the device was revoked", credential, owner)
        if owner.rotated_to is not None:
            raise _revoked("the device has replaced this key by another", credential, owner)
        if owner.key_revoked_at is not None:
            raise _revoked("the key was revoked", credential, owner)
        return await self._open(owner, owner.key_id, knock, credential)

    async def _open(
        self,
        owner: KeyOwner | DeviceTokenRow,
        shown: TokenId | KeyId,
        knock: Knock,
        credential: str,
        expires_at: int | None = None,
    ) -> Admission:
        """Open the session of a device whose credential is valid."""
        learn_names({owner.device_id: owner.device_name})
        if wait_s := self._takeover_wait_s(owner.device_id):
            self._metrics.limits_reached.labels("takeovers").inc()
            raise _wait(
                "the device is connected, and was taken over too often: is its key on two machines?", wait_s
            )
        hello, client = knock.hello, knock.hello.client or Client()
        origin = Origin(
            address=knock.address,
            host=client.host,
            store="" if hello.store is None else hello.store.id,
            instance=client.instance,
            at=now_ms(self._clock),
            takes_sha256=any(listed.name == CapabilityName.ROWS_SHA256 for listed in hello.capabilities),
        )
        opening = Opening(
            device_id=owner.device_id,
            credential=shown,
            is_key=isinstance(owner, KeyOwner),
            platform=client.platform,
            mark=hello.store,
            origin=origin,
            missing=() if hello.roots else tuple(hello.missing),
        )
        try:
            opened = await self._openings.run(opening)
        except (TokenRevoked, KeyRevoked, UnknownDevice) as exc:  # revoked since the read
            raise _revoked(str(exc), credential, owner) from exc
        except TooManyDevices as exc:
            self._metrics.limits_reached.labels("connections_per_user").inc()
            wait_ms = round(RETRY_S * 1000)
            raise HelloRefusal(
                exc.code, str(exc), CloseCode.OVERLOADED, is_failure=False, retry_after_ms=wait_ms
            ) from exc
        if opened.taken_from is not None:
            self.on_taken(owner.device_id, opened.epoch, opened.taken_from)
        store = None if hello.store is None else opened.store
        return Admission(owner.device_id, owner.user_id, opened.epoch, credential, expires_at, store, origin)

    # --- sets of devices that connect together ---

    async def _find_owners(self, shown: Sequence[bytes | KeyId]) -> Sequence[Owner | None]:
        """Return the owners of hashes of tokens, and of keys."""
        hashes = {credential for credential in shown if isinstance(credential, bytes)}
        keys = {credential for credential in shown if not isinstance(credential, bytes)}
        tokens, owners = await self._store.read(sessions.owners_of, hashes, keys)
        return [
            tokens.get(credential) if isinstance(credential, bytes) else owners.get(credential)
            for credential in shown
        ]

    async def _open_all(self, openings: Sequence[Opening]) -> Sequence[Opened | HubError]:
        at = now_ms(self._clock)
        boot_id, is_shared = self._boot_id, self._store.is_shared
        opened = await self._store.write(
            sessions.open_sessions,
            openings,
            boot_id=boot_id,
            at=at,
            is_shared=is_shared,
            per_user=self.connections_per_user,
        )
        if any(isinstance(opening, Opened) and opening.has_due for opening in opened):
            self._on_due()
        return opened

    # --- waiting after failures ---

    async def _count(self, refusal: HelloRefusal, network: str) -> HelloRefusal:
        """Return the refusal to send: *refusal*, which is counted, or the wait after too many failures."""
        if not refusal.is_failure:
            return refusal
        parties = (network,) if refusal.party is None else (network, refusal.party)
        wait_s = await self.failed.fail(*parties)
        return self._too_many(wait_s) if wait_s else refusal

    def _too_many(self, wait_s: float) -> HelloRefusal:
        self._metrics.limits_reached.labels("auth_failures").inc()
        limits = self.failed.limits
        return _wait(f"{limits.failures} attempts failed in {limits.window_s:g} s", wait_s)

    # --- audit and log ---

    async def _record_refusal(self, network: str, reason: str) -> None:
        sample = self._samples.count(network, reason)
        if sample is None:
            return
        subject, count = sample
        try:
            await self._store.write(
                audit.append,
                at=now_ms(self._clock),
                actor="hub",
                event="auth.refused",
                subject=subject,
                outcome="refused",
                detail={"reason": str(reason), "count": count},
            )
        except StorageError as exc:  # the device is refused anyway
            log.warning("audit.not_written", code=exc.code, reason=reason)


def _revoked(message: str, credential: str, owner: KeyOwner | DeviceTokenRow) -> HelloRefusal:
    name, code = owner.device_name, ErrorCode.REVOKED
    token = f"at the hub: hub token create --device {name}"
    hint = f"to pair it again: {connect_command(name, anew=True)}" if isinstance(owner, KeyOwner) else token
    return HelloRefusal(
        code, message, CloseCode.REVOKED, party=credential, device_id=owner.device_id, hint=hint
    )


def _wait(message: str, wait_s: float) -> HelloRefusal:
    return HelloRefusal(
        ErrorCode.RATE_LIMITED,
        message,
        CloseCode.TOO_MANY_ATTEMPTS,
        is_failure=False,
        retry_after_ms=math.ceil(wait_s * 1000),
    )
