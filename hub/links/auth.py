"""Authentication of devices: hello, proof of keys, pairing, spelling of its codes; admission or refusal.

A device's statements about itself are displayed but not trusted. Its token decides, or the key that signed
the hello. Only SHA-256 hashes of tokens are kept in memory and in the database. Tokens are long and random,
so a slow hash would only help attackers to keep the hub busy.

After too many failures a party has to wait, but its credential is checked first. A valid token or key is
admitted despite failed attempts by others. A key that was named without proof counts only against the
network. Otherwise an attacker could lock out a device.

Keys of hub and devices, and the proof of their possession.

The hub's own key pair, by which devices recognize their hub; all nodes of a hub share it.

Proof that a device holds the key it names: an Ed25519 signature over its hello and our nonce.

Pairing of unknown keys by a code or an invitation, and replacement of a connected device's key.

A device shows its code, and a person types it at the hub: eight symbols of an alphabet without similar
symbols, shown as ``K7QF-2M9X``. A code is valid for ``PAIRING_TTL_S``. The codes are only in memory, by key,
so that a device that reconnects gets the same code; the database has their hashes. After a restart of the
hub, a waiting device gets a new code. ``ALPHABET`` has the symbols.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hub.base.call_coalescer import Together
from hub.base.clock import Chance, Clock, IdFactory, now_ms
from hub.base.log import Channel, learn_names
from hub.base.metrics import Metrics
from hub.base.tokens import hash_token
from hub.links.gate import RETRY_S, FailedAttempts, network_of
from hub.links.refusals import Peer, Refusal, RefusalSamples, RefusedPeers
from hub.links.roster import DeviceLink
from hub.settings.limit_settings import DEFAULTS
from protocol import keys
from protocol.errors import CloseCode, CodedError, ErrorCode, HubError, connect_command
from protocol.handshake import (
    Challenge,
    Client,
    DeviceHello,
    HubProof,
    Identity,
    StoreMark,
    challenge_text,
    signed_text,
)
from protocol.ids import BootId, ConnectionId, DeviceId, KeyId, PairingId, TokenId, UserId
from storage import audit
from storage.devices import devices, pairings, tokens
from storage.devices.attempts import AttemptLimits
from storage.devices.devices import Copy, Origin, TokenRevoked, UnknownDevice
from storage.devices.pairings import Asked, BadInvitation, PairingAsk, TooManyPairings
from storage.devices.tokens import DeviceTokenRow, KeyOwner, KeyRevoked, RotatedTooSoon
from storage.effects import sessions
from storage.effects.sessions import Opened, Opening, Owner, TooManyDevices
from storage.kernel.database import Conflict, StorageError
from storage.store import Store


class HubKey:
    """An Ed25519 key pair.

    Args:
        seed: private key, 32 bytes.

    Attributes:
        public_key: base64url without padding.
        shown: key id in the form that people compare.
    """

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self.public_key = keys.encode(public)
        self.shown = keys.shown(keys.key_id(public))

    def __repr__(self) -> str:
        return f"HubKey({self.shown})"

    def prove(self, challenge: Challenge, *, address: str, device_nonce: str) -> HubProof:
        """Sign *challenge* for a device that dialled *address*. Takes about 60 us."""
        text = challenge_text(
            challenge, public_key=self.public_key, address=address, device_nonce=device_nonce
        )
        return HubProof(public_key=self.public_key, address=address, signature=self.sign(text))

    def sign(self, text: bytes) -> str:
        """Sign *text* and return the encoded signature."""
        return keys.encode(self._private.sign(text))


PAIRING_TTL_S: Final = 600.0  # lifetime of a code
PAIRINGS: Final = 50  # that wait
PAIRINGS_PER_NETWORK: Final = 3
_P: Final = 2**255 - 19  # RFC 8032, 5.1.3: y of a valid key is below this
_Y: Final = 2**255 - 1  # the bits of y; the last bit of a key is the sign of x

# y of the eight points of small order. With one of them as key, a signature that anyone can make fits every
# text, or one in a few. C2SP/CCTV, ed25519 (low_order_A): eight points, and six more spellings, all of y >=
# p. The points of order 8 are those that doubling takes to y = 0: d y^4 + 2 y^2 = 1.
_Y_OF_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = frozenset((1, _P - 1, 0, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8))


class BadProof(HubError):
    """The key or the signature is invalid; ``str()`` gives the reason."""

    code = ErrorCode.AUTH_FAILED


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A public key named by a device, which may or may not hold it."""

    id: KeyId
    public: bytes


def read_key(public_key: str) -> DeviceKey:
    """Parse the key of a hello or a request.

    Raises:
        BadProof: it is not a key, or its signatures prove nothing.
    """
    try:
        public = keys.decode(public_key, keys.PUBLIC_KEY_BYTES)
    except ValueError as error:
        raise BadProof(f"the public key is {error}") from error
    y = int.from_bytes(public, "little") & _Y
    if y >= _P:
        raise BadProof("the public key is not spelled as RFC 8032, 5.1.3 has it")
    if y in _SMALL_ORDER:
        raise BadProof("the public key is of small order: it proves nothing")
    return DeviceKey(keys.key_id(public), public)


def check_hello(key: DeviceKey, identity: Identity, challenge: Challenge, hello: DeviceHello) -> None:
    """Check that the sender of *hello* holds *key* and signed this challenge.

    Raises:
        BadProof: the signature is malformed, or belongs to another key or another text.
    """
    address = identity.address
    if address is not None and (challenge.proof is None or address != challenge.proof.address):
        raise BadProof(f"the device dialled {address!r}, which is not what this connection asked for")
    try:
        text = signed_text(challenge, hello, identity.signed_at_ms, address=address)
    except ValueError as error:
        raise BadProof(str(error)) from error
    check_signature(key.public, identity.signature, text)


def check_signature(public_key: bytes, signature: str, text: bytes) -> None:
    """Check that the encoded *signature* is the key's over *text*. Takes about 60 us.

    Raises:
        BadProof: it is not.
    """
    try:
        signed = keys.decode(signature, keys.SIGNATURE_BYTES)
    except ValueError as error:
        raise BadProof(f"the signature is {error}") from error
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signed, text)
    except InvalidSignature as error:
        raise BadProof("the signature does not fit: another key, another hub or another text") from error


COME_BACK_MS: Final = 2_000  # a person types the code meanwhile, so a longer wait would be annoying
LABEL_CHARACTERS: Final = 64  # limit of device names
_UNFIT: Final = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class _IssuedCode:
    """A code issued to a key, and when it expires (epoch milliseconds)."""

    code: str
    expires_at: int


class PairingDesk:
    """Pairing of devices with unknown keys."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._issued: dict[KeyId, _IssuedCode] = {}
        self._limits_reached = metrics.limits_reached

    async def ask(
        self, key: DeviceKey, hello: DeviceHello, *, network: str, connection_id: ConnectionId
    ) -> Refusal:
        """Record the pairing request of a key. Return the refusal to send until a person decides."""
        at = now_ms(self._clock)
        self._issued = {key_id: issued for key_id, issued in self._issued.items() if issued.expires_at > at}
        known = self._issued.get(key.id)
        code = make(self._chance)
        asking = PairingAsk(
            id=PairingId(self._ids.fresh()),
            code_hash=hash_code(code),
            known_code_hash=None if known is None else hash_code(known.code),
            key_id=key.id,
            public_key=key.public,
            label=label_of(hello),
            platform=hello.client.platform if hello.client else "",
            network=network,
            connection_id=connection_id,
        )
        try:
            asked = await self._store.write(
                pairings.ask,
                asking,
                at=at,
                expires_at=at + int(PAIRING_TTL_S * 1000),
                most=PAIRINGS,
                most_per_network=PAIRINGS_PER_NETWORK,
            )
        except TooManyPairings as error:
            self._limits_reached.labels(error.limit).inc()
            wait_ms = max(COME_BACK_MS, error.retry_at - at)
            return Refusal(
                error.code,
                str(error),
                CloseCode.TOO_MANY_ATTEMPTS,
                party=f"key:{key.id}",
                retry_after_ms=wait_ms,
            )
        if known is None or asked.is_new_code:
            known = _IssuedCode(code, asked.pairing.expires_at)
        return self._answer(key.id, asked, known)

    async def redeem(self, key: DeviceKey, invitation: str, hello: DeviceHello) -> KeyOwner:
        """Admit the key by an invitation, and return its device.

        Raises:
            Refusal: the invitation is not valid; nothing was written.
        """
        try:
            return await self._store.write(
                pairings.redeem,
                hash_token(invitation),
                key_id=key.id,
                public_key=key.public,
                fresh_id=DeviceId(self._ids.fresh()),
                label=label_of(hello),
                at=now_ms(self._clock),
            )
        except (BadInvitation, CodedError) as error:
            hint = getattr(error, "hint", "") or "ask for a new one: hub pair invite"
            raise Refusal(
                error.code, str(error), CloseCode.AUTH_FAILED, party=f"key:{key.id}", hint=hint
            ) from error

    def forget(self, key_id: KeyId) -> None:
        """Forget the code of a key that no longer waits."""
        self._issued.pop(key_id, None)

    def _answer(self, key_id: KeyId, asked: Asked, issued: _IssuedCode) -> Refusal:
        if asked.pairing.decision == "denied":
            self.forget(key_id)
            message = "who runs the hub does not let this device in"
            return Refusal(
                ErrorCode.PAIRING_DENIED, message, CloseCode.PAIRING_REQUIRED, party=f"key:{key_id}"
            )
        # approved in the meantime: the next hello is admitted
        is_approved = asked.pairing.decision is not None
        if not is_approved:
            self._issued[key_id] = issued
        message = "this hub does not know the device's key yet; a person has to type its code there"
        return Refusal(
            ErrorCode.PAIRING_REQUIRED,
            message,
            CloseCode.PAIRING_REQUIRED,
            is_failure=False,
            pairing_code=None if is_approved else issued.code,
            retry_after_ms=COME_BACK_MS,
            hint=None if is_approved else f"at the hub: hub pair approve {issued.code}",
        )


def label_of(hello: DeviceHello) -> str:
    """Return the device's own name in the form of a device name; ``device`` if nothing is left."""
    label = _UNFIT.sub("-", hello.device_id or "").strip("-.")[:LABEL_CHARACTERS]
    return label or "device"


ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # without 0 O, 1 I L, and U, which is read as V
LENGTH: Final = 8  # 39 bits: enough for a lifetime of ten minutes and few guesses
_CHANCE_BYTES: Final = 16  # far more than 39 bits, so that all symbols are practically equally likely


class BadCode(ValueError):
    """The typed text cannot be a code; ``str()`` gives the reason."""


def make(chance: Chance) -> str:
    """Return a new code in the displayed form."""
    drawn, symbols = int.from_bytes(chance.token_bytes(_CHANCE_BYTES), "big"), []
    for _ in range(LENGTH):
        drawn, symbol = divmod(drawn, len(ALPHABET))
        symbols.append(ALPHABET[symbol])
    return _shown("".join(symbols))


def read(typed: str) -> str:
    """Return the typed code in the displayed form; case, dash and spaces are ignored.

    Raises:
        BadCode: the text is not a code.
    """
    symbols = "".join(typed.split()).replace("-", "").upper()
    if strange := sorted(set(symbols) - set(ALPHABET)):
        raise BadCode(f"a code never has {strange[0]!r} in it; look at it again")
    if len(symbols) != LENGTH:
        raise BadCode(f"a code has {LENGTH} letters and digits, as in K7QF-2M9X; this has {len(symbols)}")
    return _shown(symbols)


def hash_code(code: str) -> bytes:
    """Return the stored hash of a code in the displayed form."""
    return hashlib.sha256(code.encode()).digest()


def _shown(symbols: str) -> str:
    half = LENGTH // 2
    return f"{symbols[:half]}-{symbols[half:]}"


log = Channel(__name__)

WAIT_S: Final = 60.0  # between two key replacements of a device

_KEY = "key:"


class KeyRotation:
    """Checks that the old key signed the new one, and that the device holds the new key."""

    def __init__(
        self, store: Store, *, hub_id: str, clock: Clock, metrics: Metrics, wait_s: float = WAIT_S
    ) -> None:
        """Set up the rotation.

        Args:
            wait_s: minimum seconds between two key replacements of a device.
        """
        self.wait_s = wait_s
        self._limits_reached = metrics.limits_reached
        self._store = store
        self._hub_id = hub_id
        self._clock = clock

    async def rotate(self, link: DeviceLink, *, public_key: str, signature: str, proof: str) -> KeyId:
        """Replace the device's key. The old key is no longer valid; this connection stays open.

        Args:
            public_key: the new key in wire format.
            signature, proof: signatures over ``protocol.keys.rotation_text``, by the old and the new key.

        Raises:
            CodedError (FORBIDDEN, BAD_PARAMS): it has no key, or the new one is in use; nothing was written.
            BadProof: the new key or a signature is invalid; nothing was written.
            KeyRevoked: the old key was revoked meanwhile; nothing was written.
            RotatedTooSoon: the last replacement was too recent, as every key stays registered; nothing was
                written.
        """
        if not link.credential.startswith(_KEY):
            raise CodedError(
                ErrorCode.FORBIDDEN, "this connection was opened by a token, so there is no key to replace"
            )
        old_id, new = KeyId(link.credential.removeprefix(_KEY)), read_key(public_key)
        old = next(
            key
            for key in await self._store.read(tokens.list_keys, device_id=link.device_id)
            if key.id == old_id
        )
        text = keys.rotation_text(self._hub_id, link.device_id, old_key=old.public_key, new_key=new.public)
        check_signature(old.public_key, signature, text)
        check_signature(new.public, proof, text)
        try:
            await self._store.write(
                tokens.rotate_key,
                link.device_id,
                old=old_id,
                new=new.id,
                public_key=new.public,
                at=now_ms(self._clock),
                wait_ms=int(self.wait_s * 1000),
            )
        except RotatedTooSoon:
            self._limits_reached.labels("key_rotation_wait_s").inc()
            raise
        except Conflict as error:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "the new key is on record already; make another one"
            ) from error
        link.credential = f"{_KEY}{new.id}"
        log.info("device.key_rotated", device_id=link.device_id)
        return new.id


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
    ) -> None:
        """Set up the authenticator.

        Args:
            boot_id: process of the hub that has the connections.
            takeover_wait_s: returns the seconds during which a connected device cannot be taken over.
            connections_per_user: maximum number of connected devices of a user, at all hubs together.
        """
        self.connections_per_user = connections_per_user
        self._store = store
        self._boot_id = boot_id
        self.on_taken: Callable[[DeviceId, int, BootId], None] = lambda *_: None
        self.on_due: Callable[[], None] = lambda: None  # a schedule waited for a connection that was opened
        self._clock = clock
        self._metrics = metrics
        self.failed = FailedAttempts(store, clock, kind="device", limits=attempts)
        self._samples = RefusalSamples(clock)
        self.refused = RefusedPeers(clock)
        self._desk = PairingDesk(store, clock=clock, chance=chance, metrics=metrics)
        self._takeover_wait_s = takeover_wait_s
        self._owners = Together[bytes | KeyId, Owner | None](self._find_owners, most=AT_ONCE)
        self._openings = Together[Opening, Opened](self._open_all, most=AT_ONCE)

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
        except Refusal as judged:
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
            devices.note_replaced, admission.device_id, admission.origin, at=now_ms(self._clock)
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
        left = devices.LEFT if reason is None else f"{devices.LEFT} ({reason.replace('_', ' ')})"
        await self._store.write(
            sessions.close_session, admission.device_id, admission.epoch, at_ms, reason=left
        )

    async def _judge(self, knock: Knock, network: str) -> Admission:
        hello = knock.hello
        if hello.identity is not None:
            if knock.token:
                message = "the device shows a token and a key; one of them is enough"
                raise Refusal(ErrorCode.AUTH_FAILED, message, CloseCode.AUTH_FAILED)
            return await self._judge_key(knock, hello.identity, network)
        if not knock.token:
            message = (
                "an invitation comes with a key"
                if hello.invitation
                else "the device showed no key and no token"
            )
            raise Refusal(ErrorCode.PAIRING_REQUIRED, message, CloseCode.PAIRING_REQUIRED)
        return await self._judge_token(knock.token, knock)

    # --- tokens ---

    async def _judge_token(self, token: str, knock: Knock) -> Admission:
        owner = await self._owners.run(hash_token(token))
        assert owner is None or isinstance(owner, DeviceTokenRow)
        if owner is None:
            raise Refusal(ErrorCode.AUTH_FAILED, "this token is unknown", CloseCode.AUTH_FAILED)
        credential = f"token:{owner.id}"
        if owner.device_revoked_at is not None:
            raise _revoked("the device was revoked", credential, owner)
        if owner.revoked_at is not None:
            raise _revoked("the token was revoked", credential, owner)
        if owner.expires_at is not None and owner.expires_at <= now_ms(self._clock):
            message = "the token has expired"
            raise Refusal(
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
            raise Refusal(exc.code, str(exc), CloseCode.AUTH_FAILED) from exc
        try:
            check_hello(key, identity, knock.challenge, hello)
        except BadProof as exc:  # not counted against the key, which the peer may not hold
            raise Refusal(exc.code, str(exc), CloseCode.AUTH_FAILED) from exc
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
        )
        opening = Opening(
            device_id=owner.device_id,
            credential=shown,
            is_key=isinstance(owner, KeyOwner),
            platform=client.platform,
            mark=hello.store,
            origin=origin,
        )
        try:
            opened = await self._openings.run(opening)
        except (TokenRevoked, KeyRevoked, UnknownDevice) as exc:  # revoked since the read
            raise _revoked(str(exc), credential, owner) from exc
        except TooManyDevices as exc:
            self._metrics.limits_reached.labels("connections_per_user").inc()
            wait_ms = round(RETRY_S * 1000)
            raise Refusal(
                exc.code, str(exc), CloseCode.OVERLOADED, is_failure=False, retry_after_ms=wait_ms
            ) from exc
        if opened.taken_from is not None:
            self.on_taken(owner.device_id, opened.epoch, opened.taken_from)
        store = None if hello.store is None else opened.store
        return Admission(owner.device_id, owner.user_id, opened.epoch, credential, expires_at, store, origin)

    # --- sets of devices that connect together ---

    async def _find_owners(self, shown: Sequence[bytes | KeyId]) -> Sequence[Owner | None]:
        """Return the owners of hashes of tokens, and of keys."""
        hashes = {one for one in shown if isinstance(one, bytes)}
        keys = {one for one in shown if not isinstance(one, bytes)}
        tokens, owners = await self._store.read(sessions.owners_of, hashes, keys)
        return [tokens.get(one) if isinstance(one, bytes) else owners.get(one) for one in shown]

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
        if any(isinstance(one, Opened) and one.has_due for one in opened):
            self.on_due()
        return opened

    # --- waiting after failures ---

    async def _count(self, refusal: Refusal, network: str) -> Refusal:
        """Return the refusal to send: *refusal*, which is counted, or the wait after too many failures."""
        if not refusal.is_failure:
            return refusal
        parties = (network,) if refusal.party is None else (network, refusal.party)
        wait_s = await self.failed.fail(*parties)
        return self._too_many(wait_s) if wait_s else refusal

    def _too_many(self, wait_s: float) -> Refusal:
        self._metrics.limits_reached.labels("auth_failures").inc()
        limits = self.failed.limits
        return _wait(f"{limits.failures} attempts failed in {limits.window_s:g} s", wait_s)

    # --- audit and log ---

    async def _record_refusal(self, network: str, reason: str) -> None:
        sample = self._samples.take(network, reason)
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


def _revoked(message: str, credential: str, owner: KeyOwner | DeviceTokenRow) -> Refusal:
    name, code = owner.device_name, ErrorCode.REVOKED
    token = f"at the hub: hub token create --device {name}"
    hint = f"to pair it again: {connect_command(name, anew=True)}" if isinstance(owner, KeyOwner) else token
    return Refusal(code, message, CloseCode.REVOKED, party=credential, device_id=owner.device_id, hint=hint)


def _wait(message: str, wait_s: float) -> Refusal:
    return Refusal(
        ErrorCode.RATE_LIMITED,
        message,
        CloseCode.TOO_MANY_ATTEMPTS,
        is_failure=False,
        retry_after_ms=math.ceil(wait_s * 1000),
    )
