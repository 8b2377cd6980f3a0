"""Devices that come with a key of their own, over real sockets."""

from itertools import product
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.base.tokens import TokenKind, hash_token, last4, make
from hub.links import pairing
from hub.links.device_keys import BadProof, read_key
from hub.links.pairing import ALPHABET, BadCode, read_code
from hub.links.revocation_watch import RevocationWatch
from protocol import keys
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.ids import DeviceId, InvitationId, UserId
from storage import audit
from storage.devices import devices, pairings, users
from storage.devices.tokens import INVITATIONS
from storage.store import ObservedDatabase
from tests.support import stored
from tests.support.clock import SeededChance
from tests.support.coded import coded
from tests.support.families import each
from tests.support.keys import KeyPair, b64
from tests.support.presence import BOOT
from tests.support.wire import AT_MS, Port, RawDevice

ANNA = UserId("anna")
KEY = KeyPair(1)


def now_ms(port: Port) -> int:
    return int(port.clock.now().timestamp() * 1000)


async def knock(
    port: Port, key: KeyPair = KEY, *, label: str = "desk", **hello: Any
) -> tuple[dict[str, Any], int | None]:
    """What a device with a key is told, and the close code if it was sent away."""
    async with port.connect() as device:
        answer = await device.greet_with(key, label=label, **hello)
        return answer, None if answer["type"] == "welcome" else await device.closed()


async def approve(port: Port, code: str, *, name: str | None = None) -> None:
    """What the operator does with the code that the device shows."""
    await port.store.write(users.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(
        pairings.approve,
        pairing.hash_code(pairing.read_code(code)),
        fresh_id=DeviceId(f"device-{code}"),
        user_id=ANNA,
        name=name,
        actor="operator:0",
        at=now_ms(port),
    )


async def paired(port: Port, key: KeyPair = KEY, *, label: str = "desk") -> None:
    error, _ = await knock(port, key, label=label)
    await approve(port, error["pairing_code"])


async def invitation(port: Port, *, uses: int = 1) -> str:
    token = make(TokenKind.INVITATION, SeededChance(uses))
    await port.store.write(users.ensure_user, ANNA, "anna", AT_MS)
    await port.store.write(
        INVITATIONS.create,
        id=InvitationId("i-1"),
        token_hash=hash_token(token),
        user_id=ANNA,
        device_name=None,
        uses_left=uses,
        last4=last4(token),
        actor="operator:0",
        at=now_ms(port),
        expires_at=now_ms(port) + 600_000,
    )
    return token


async def test_unknown_device_gets_a_pairing_code_and_connects_after_approval(port: Port) -> None:
    error, close = await knock(port, label="Anna's desk")
    assert (error["code"], close, error["retry_after_ms"], error["hint"]) == (
        "pairing_required",
        CloseCode.PAIRING_REQUIRED,
        2_000,
        f"at the hub: hub pair approve {error['pairing_code']}",
    )
    (waiting,) = await port.store.read(pairings.list_pairings, at=now_ms(port))
    assert (waiting.label, waiting.network) == ("Anna-s-desk", "127.0.0.1")

    await approve(port, error["pairing_code"].lower().replace("-", " "))
    welcome, _ = await knock(port)

    assert (welcome["type"], welcome["user_id"]) == ("welcome", "anna")
    assert (await port.store.read(devices.get_device, welcome["device_id"])).name == "Anna-s-desk"


async def test_waiting_device_gets_the_same_pairing_code_at_each_connection(
    port: Port,
) -> None:
    assert len({(await knock(port))[0].get("pairing_code") for _ in range(15)}) == 1
    assert await port.store.read(audit.list_entries, limit=10) == []


async def test_pairing_code_expires_after_ten_minutes(port: Port) -> None:
    first, _ = await knock(port)
    port.clock.advance(600)
    second, _ = await knock(port)
    assert first["pairing_code"] != second["pairing_code"]
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        await approve(port, first["pairing_code"])
    await approve(port, second["pairing_code"])


async def test_a_denied_device_is_refused_permanently(port: Port) -> None:
    await knock(port)
    (waiting,) = await port.store.read(pairings.list_pairings, at=now_ms(port))
    await port.store.write(pairings.deny, waiting.id, actor="operator:0", at=now_ms(port))
    error, close = await knock(port)
    assert (error["code"], close) == ("pairing_denied", CloseCode.PAIRING_REQUIRED)
    assert "retry_after_ms" not in error


async def test_fourth_pairing_device_of_a_network_is_refused_with_a_retry_time(port: Port) -> None:
    for seed in range(1, 4):
        await knock(port, KeyPair(seed))
    error, close = await knock(port, KeyPair(4))
    assert (error["code"], close, error["retry_after_ms"]) == (
        "too_many_pairings",
        CloseCode.TOO_MANY_ATTEMPTS,
        600_000,
    )
    assert (
        port.count("hub_auth_failures_total", reason="too_many_pairings"),
        port.count("hub_limits_reached_total", limit="pairings_per_network"),
    ) == (1, 1)


@pytest.mark.parametrize(
    "signed",
    [
        {"hub_id": "another hub"},
        {"nonce": "a nonce of yesterday"},
        {"label": "another label"},
        {"max": "2"},
        {"at": "0"},
    ],
    ids=lambda signed: next(iter(signed)),
)
async def test_signature_over_other_fields_is_refused(
    port: Port, stranger: RawDevice, signed: dict[str, str]
) -> None:
    await paired(port)
    identity = KEY.identity(await stranger.hear(), label="desk", signed=signed)
    await stranger.say(type="device_hello", device_id="desk", identity=identity)
    error = await stranger.hear()
    assert (error["code"], await stranger.closed()) == ("auth_failed", CloseCode.AUTH_FAILED)
    assert "signature" in error["message"]


async def test_device_signature_replayed_over_another_connection_is_refused(port: Port) -> None:
    await paired(port)
    async with port.connect() as device:
        heard = KEY.identity(await device.hear(), label="desk")
    async with port.connect() as thief:
        await thief.hear()
        await thief.say(type="device_hello", device_id="desk", identity=heard)
        assert (await thief.hear())["code"] == "auth_failed"


async def test_token_sent_beside_a_key_is_refused(port: Port) -> None:
    token = await port.pair("laptop")
    error, close = await knock(port, token=token)
    assert (error["code"], close) == ("auth_failed", CloseCode.AUTH_FAILED)
    headers = {"Authorization": f"Bearer {token}"}
    async with port.connect(additional_headers=headers) as device:
        assert (await device.greet_with(KEY))["code"] == "auth_failed"


async def test_user_role_and_label_claimed_in_a_hello_are_ignored(port: Port) -> None:
    await paired(port)
    welcome, _ = await knock(port, user_id="root", role="admin", scopes=["*"], label="laptop")
    assert welcome["user_id"] == "anna"
    assert (await port.store.read(devices.get_device, welcome["device_id"])).name == "desk"


async def test_invitation_admits_a_device_at_once_up_to_the_use_limit(port: Port) -> None:
    token = await invitation(port)
    welcome, _ = await knock(port, invitation=token)
    assert (welcome["type"], welcome["user_id"]) == ("welcome", "anna")
    assert (await knock(port, invitation=token))[0]["type"] == "welcome"
    error, close = await knock(port, KeyPair(2), invitation=token)
    assert (error["code"], close, error["message"], error["hint"]) == (
        "auth_failed",
        CloseCode.AUTH_FAILED,
        "the invitation was used as often as it may be",
        "ask for a new one: hub pair invite",
    )


async def test_revoked_key_ends_the_connection_and_is_refused_afterwards(port: Port) -> None:
    await paired(port)
    watch = RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock)
    async with port.connect() as device, port.device("laptop") as other:
        await device.greet_with(KEY)
        key_id = keys.key_id(KEY.public)
        await port.store.write(stored.revoke_key, key_id, at=now_ms(port))
        await watch.poll()
        assert (await device.hear(), await device.closed()) == (
            {"type": "goodbye", "reason": "revoked"},
            CloseCode.REVOKED,
        )
        await watch.poll()
        assert other.socket.close_code is None
    error, close = await knock(port)
    assert (error["code"], error["message"], close) == (
        "revoked",
        "the key was revoked",
        CloseCode.REVOKED,
    )


async def test_revoked_device_is_refused_with_the_old_and_with_a_new_key(port: Port) -> None:
    await paired(port)
    welcome, _ = await knock(port)
    await port.store.write(devices.revoke_device, welcome["device_id"], at=now_ms(port), actor="operator:0")
    error, close = await knock(port)
    assert (error["message"], close) == ("the device was revoked", CloseCode.REVOKED)
    assert error["hint"].endswith("hub connect URL --root DIR --name desk --new-key")
    error, close = await knock(port, KeyPair(2), invitation=await invitation(port))
    assert (error["code"], close) == ("name_taken", CloseCode.AUTH_FAILED)
    assert "hub pair invite --device desk" in error["hint"]


async def test_revocation_of_another_key_of_the_device_leaves_the_connection(port: Port) -> None:
    await paired(port)
    error, _ = await knock(port, KeyPair(2))
    await approve(port, error["pairing_code"], name="desk")
    watch = RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock)
    async with port.connect() as device:
        await device.greet_with(KEY)
        other = keys.key_id(KeyPair(2).public)
        await port.store.write(stored.revoke_key, other, at=now_ms(port))
        await watch.poll()
        assert len(port.roster.connected()) == 1


async def test_revocation_by_another_hub_with_a_late_clock_ends_the_connection(port: Port) -> None:
    async with port.device("laptop") as device:
        watch = RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock)
        at = now_ms(port) - 30_000
        await port.store.write(devices.revoke_device, DeviceId("laptop"), at=at, actor="operator:0")
        await watch.poll()
        assert await device.closed() == CloseCode.REVOKED


async def test_connection_ends_within_a_second_of_the_token_expiry(port: Port) -> None:
    async with anyio.create_task_group() as tasks:
        watch = RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock)
        await tasks.start(watch.serve)
        token = await port.pair(expires_at=now_ms(port) + 500)
        async with port.connect() as device, port.device("desk") as other:
            assert (await device.greet(token))["type"] == "welcome"
            watch.end_expired()
            assert len(port.roster.connected()) == 2
            await port.clock.pass_time(0.5)
            goodbye = await device.hear()
            assert (goodbye["reason"], goodbye["message"]) == ("auth_failed", "the token has expired")
            assert await device.closed() == CloseCode.AUTH_FAILED
            assert [link.device_id for link in port.roster.connected()] == ["desk"]
            assert other.socket.close_code is None
        tasks.cancel_scope.cancel()


async def test_connection_of_a_revoked_device_ends_within_a_second(port: Port) -> None:
    async with anyio.create_task_group() as tasks:
        watch = RevocationWatch(port.store, roster=port.roster, boot_id=BOOT, clock=port.clock)
        await tasks.start(watch.serve)
        async with port.device("laptop") as device:
            await port.store.write(
                devices.revoke_device, DeviceId("laptop"), at=now_ms(port), actor="operator:0"
            )
            await port.clock.pass_time(0.5)
            assert await device.closed() == CloseCode.REVOKED
        tasks.cancel_scope.cancel()


async def test_revocations_of_a_file_are_read_after_a_write_of_this_process_alone(port: Port) -> None:
    store = ObservedDatabase(port.store)
    async with anyio.create_task_group() as tasks:
        watch = RevocationWatch(store, roster=port.roster, boot_id=BOOT, clock=port.clock)
        await tasks.start(watch.serve)
        async with port.device("laptop") as device:
            await port.clock.pass_time(1.0)
            laptop, at = DeviceId("laptop"), now_ms(port)
            await port.store.write(devices.revoke_device, laptop, at=at, actor="operator:0")  # unseen
            await port.clock.pass_time(5.0)
            assert len(port.roster.connected()) == 1
            await store.write(users.ensure_user, UserId("bert"), "bert", AT_MS)
            await port.clock.pass_time(0.5)
            assert await device.closed() == CloseCode.REVOKED
        tasks.cancel_scope.cancel()


@given(seed=st.integers(0, 10_000))
def test_pairing_code_is_parsed_in_lower_case_and_with_or_without_hyphen(seed: int) -> None:
    code = pairing.make_code(SeededChance(seed))
    assert (len(code), set(code) - {*ALPHABET, "-"}) == (9, set())
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' - ')}\n"):
        assert read_code(typed) == code


def test_code_alphabet_has_no_ambiguous_symbols() -> None:
    assert (len(set(ALPHABET)), set("0O1ILU") & set(ALPHABET)) == (len(ALPHABET), set())


@each(
    ("typed", "told"),
    [
        ("K7QF-2M9", "has 8 letters and digits, as in K7QF-2M9X; this has 7"),
        ("", "this has 0"),
        ("K7QF-2M90", "never has '0' in it"),
        ("K7QF-2M9é", "never has 'É' in it"),
    ],
)
def test_an_invalid_pairing_code_is_refused(typed: str, told: str) -> None:
    with pytest.raises(BadCode, match=told):
        read_code(typed)


# --- which public keys a device may have, by other arithmetic on the curve of Ed25519 ---


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # a root of -1
Point = tuple[int, int]


def doubled(point: Point) -> Point:
    """The point added to itself, on -x^2 + y^2 = 1 + d x^2 y^2."""
    x, y = point
    both = D * x * x * y * y
    return 2 * x * y * pow(1 + both, -1, P) % P, (y * y + x * x) * pow(1 - both, -1, P) % P


def is_on_curve(point: Point) -> bool:
    x, y = point
    return (y * y - x * x - 1 - D * x * x * y * y) % P == 0


def square_roots(number: int) -> set[int]:
    """Both, or none."""
    root = pow(number, (P + 3) // 8, P)
    found = {factor * root % P for factor in (1, -1, ROOT, -ROOT)}
    return {one for one in found if (one * one - number) % P == 0}


def small_points() -> set[Point]:
    """The points that three doublings take to (0, 1).

    One doubling takes a point to x = 0 when x or y is 0, and to y = 0 when x^2 = -y^2, that is
    d y^4 + 2 y^2 = 1.
    """
    numbers = {0, 1, P - 1, ROOT, P - ROOT}
    for root in square_roots(1 + D):
        for y in square_roots((root - 1) * pow(D, -1, P) % P):
            numbers |= {y, y * ROOT % P}
    points = {(x, y) for x, y in product(numbers, numbers) if is_on_curve((x, y))}
    return {point for point in points if doubled(doubled(doubled(point))) == (0, 1)}


def spellings(y: int) -> list[bytes]:
    """Every 32 bytes that are read as *y*, with either sign of x."""
    numbers = [y + more for more in (0, P) if y + more < 2**255]
    return [(number | sign << 255).to_bytes(32, "little") for number in numbers for sign in (0, 1)]


SMALL = small_points()
KEYS = sorted({key for _, y in SMALL for key in spellings(y)})


@each("y", [P, P + 2, 2**255 - 1])
def test_public_key_in_a_non_canonical_encoding_is_refused(y: int) -> None:
    with pytest.raises(BadProof, match="not spelled"):
        read_key(b64(y.to_bytes(32, "little")))


def test_small_order_and_malformed_public_keys_are_refused() -> None:
    assert (len(SMALL), len(KEYS)) == (8, 14)
    for public in [*map(b64, KEYS), "", "AAAA", "not base64!", "A" * 43 + "="]:
        with pytest.raises(BadProof, match="the public key is"):
            read_key(public)


@each("seed", range(8))
def test_public_key_made_by_a_device_is_accepted(seed: int) -> None:
    key = KeyPair(seed)
    assert read_key(key.spelled).id == keys.key_id(key.public)
