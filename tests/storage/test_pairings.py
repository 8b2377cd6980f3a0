import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import ConnectionId, DeviceId, InvitationId, KeyId, PairingId, UserId
from storage import audit
from storage.devices import devices, keys, pairings
from storage.devices.devices import DeviceRow
from storage.devices.keys import KeyOwner
from storage.devices.pairings import BadInvitation, PairingAsk, PairingRequested, TooManyPairings
from storage.devices.tokens import INVITATIONS, InvitationRow
from storage.devices.users import ensure_user
from storage.schema import devices as device_table
from tests.storage.rows import AT, some
from tests.support.coded import coded

ANNA = UserId("anna")
TTL_MS = 600_000


def asking(key: str = "k-1", *, code: str = "CODE-1", known: str | None = None) -> PairingAsk:
    """What a key that nobody knows is written down with."""
    return PairingAsk(
        id=PairingId(f"p-{key}-{code}"),
        code_hash=code.encode(),
        known_code_hash=None if known is None else known.encode(),
        key_id=KeyId(key),
        public_key=key.encode(),
        label="desk",
        platform="linux",
        network="192.0.2.7",
        connection_id=ConnectionId("c-1"),
    )


def elsewhere(wanted: PairingAsk, network: str = "2001:db8::/64") -> PairingAsk:
    """The same ask from another network."""
    return msgspec.structs.replace(wanted, network=network)


def ask(
    c: sa.Connection, wanted: PairingAsk | None = None, *, at: int = AT, most: int = 50
) -> PairingRequested:
    return pairings.ask(c, wanted or asking(), at=at, expires_at=at + TTL_MS, most=most, most_per_network=3)


def approve(
    c: sa.Connection,
    code: str = "CODE-1",
    *,
    name: str | None = None,
    at: int = AT + 1,
    fresh: str = "d-1",
    shown: PairingId | None = None,
) -> DeviceRow:
    ensure_user(c, ANNA, "anna", AT)
    return pairings.approve(
        c,
        code.encode(),
        pairing_id=shown,
        fresh_id=DeviceId(fresh),
        user_id=ANNA,
        name=name,
        actor="operator:0",
        at=at,
    )


def told(c: sa.Connection) -> list[str]:
    return [row.event for row in audit.list_entries(c, limit=10, oldest_first=True)]


@pytest.fixture
def asked(c: sa.Connection) -> PairingRequested:
    """A key that waits for its approval."""
    return ask(c)


@pytest.fixture
def desk(c: sa.Connection, asked: PairingRequested) -> DeviceRow:
    """A device that was let in."""
    return approve(c)


def test_approved_pairing_code_admits_the_key_under_the_reported_device_name(c: sa.Connection) -> None:
    assert ask(c).is_new_code
    (waiting,) = pairings.list_pairings(c, at=AT)
    assert (waiting.label, waiting.key_id, waiting.decision) == ("desk", "k-1", None)
    assert pairings.find_pairing(c, b"CODE-1", at=AT) == waiting

    device = approve(c)

    owner = some(keys.find_key(c, KeyId("k-1")))
    assert (device.name, device.user_id, owner.device_id, owner.user_id) == ("desk", ANNA, device.id, ANNA)
    assert (pairings.list_pairings(c, at=AT), told(c)) == ([], ["pairing.approved"])


@pytest.mark.usefixtures("asked")
def test_pairing_code_can_be_approved_once(c: sa.Connection) -> None:
    approve(c)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        approve(c)


@pytest.mark.usefixtures("asked")
def test_waiting_pairings_are_counted_until_decided_or_expired(c: sa.Connection) -> None:
    ask(c, asking("k-2", code="CODE-2"), at=AT + 1)
    assert (pairings.count_pairings(c, at=AT + 1), pairings.count_pairings(c, at=AT + TTL_MS)) == (2, 1)
    approve(c, "CODE-2")
    assert pairings.count_pairings(c, at=AT + 1) == 1


@pytest.mark.usefixtures("asked")
def test_another_code_admits_no_device(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        approve(c, "CODE-2")
    assert keys.find_key(c, KeyId("k-1")) is None


@pytest.mark.usefixtures("asked")
def test_an_expired_code_admits_no_device(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        approve(c, at=AT + TTL_MS)
    assert pairings.list_pairings(c, at=AT + TTL_MS) == []


def test_returning_key_gets_the_same_pairing_code_and_expiry(c: sa.Connection) -> None:
    first = ask(c)
    again = ask(c, asking(code="CODE-2", known="CODE-1"), at=AT + 5)
    assert not again.is_new_code
    assert (again.pairing.id, again.pairing.expires_at) == (first.pairing.id, first.pairing.expires_at)
    assert pairings.find_pairing(c, b"CODE-1", at=AT) is not None


def test_each_key_has_a_separate_pairing_in_any_order_of_requests(c: sa.Connection) -> None:
    for key in ("k-2", "k-1", "k-3"):
        asked = ask(c, asking(key, code=f"CODE-{key}"))
        assert (asked.is_new_code, asked.pairing.key_id) == (True, key)
    assert sorted(row.key_id for row in pairings.list_pairings(c, at=AT)) == ["k-1", "k-2", "k-3"]
    assert ask(c, asking("k-1", code="CODE-9", known="CODE-k-1")).pairing.key_id == "k-1"


@pytest.mark.usefixtures("asked")
def test_key_without_the_known_code_gets_a_new_pairing_code(c: sa.Connection) -> None:
    assert ask(c, asking(code="CODE-2")).is_new_code and pairings.find_pairing(c, b"CODE-1", at=AT) is None
    assert pairings.find_pairing(c, b"CODE-2", at=AT) is not None


def test_denied_key_is_refused_until_the_pairing_has_expired(c: sa.Connection) -> None:
    assert pairings.deny(c, ask(c).pairing.id, actor="operator:0", at=AT + 1).decision == "denied"
    assert (ask(c, at=AT + 2).pairing.decision, ask(c, at=AT + TTL_MS).pairing.decision) == ("denied", None)
    assert told(c) == ["pairing.denied"]
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        pairings.deny(c, PairingId("p-9"), actor="operator:0", at=AT)


def test_fourth_waiting_key_of_a_network_is_refused_with_a_retry_time(c: sa.Connection) -> None:
    for number in range(3):
        ask(c, asking(f"k-{number}", code=f"CODE-{number}"), at=AT + number)
    with pytest.raises(TooManyPairings) as refusal:
        ask(c, asking("k-4", code="CODE-4"))
    assert refusal.value.retry_at == AT + TTL_MS
    ask(c, asking("k-2", code="CODE-9"))  # who waits already has a place
    ask(c, elsewhere(asking("k-5", code="CODE-5")))
    with pytest.raises(TooManyPairings, match="4 devices"):
        ask(c, elsewhere(asking("k-6", code="CODE-6")), most=4)
    ask(c, asking("k-4", code="CODE-4"), at=AT + TTL_MS)


def test_waiting_key_counts_for_the_network_of_the_first_request(c: sa.Connection) -> None:
    for number in range(3):
        ask(c, asking(f"k-{number}", code=f"CODE-{number}"))
        again = ask(c, elsewhere(asking(f"k-{number}", known=f"CODE-{number}")))
        assert (again.pairing.network, again.is_new_code) == ("192.0.2.7", False)
    with pytest.raises(TooManyPairings):
        ask(c, asking("k-3", code="CODE-3"))


def test_renamed_waiting_key_gets_a_new_pairing_code_with_the_same_expiry(
    c: sa.Connection,
) -> None:
    first = ask(c)
    renamed = msgspec.structs.replace(asking(code="CODE-2", known="CODE-1"), label="root", platform="darwin")
    again = ask(c, renamed, at=AT + 5)
    assert again.is_new_code
    assert again.pairing.id != first.pairing.id
    assert again.pairing.expires_at == first.pairing.expires_at
    assert [row.label for row in pairings.list_pairings(c, at=AT + 5)] == ["root"]
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        approve(c, "CODE-1")


@pytest.mark.parametrize("of_itself", [{"label": "root"}, {"platform": "darwin"}])
def test_the_description_of_a_waiting_device_never_changes(
    c: sa.Connection, of_itself: dict[str, str]
) -> None:
    first = ask(c).pairing
    ask(c, msgspec.structs.replace(asking(code="CODE-2", known="CODE-1"), **of_itself))
    ask(c, asking(code="CODE-3", known="CODE-2"))
    assert first.id not in [row.id for row in pairings.list_pairings(c, at=AT)]


def test_renamed_waiting_key_from_a_full_network_is_refused(c: sa.Connection) -> None:
    for number in range(3):
        ask(c, elsewhere(asking(f"k-{number}", code=f"CODE-{number}")))
    ask(c, asking("k-9", code="CODE-8"))
    moved = elsewhere(msgspec.structs.replace(asking("k-9", code="CODE-9"), label="root"))
    with pytest.raises(TooManyPairings):
        ask(c, moved)


def test_approval_of_another_pairing_than_shown_is_refused(c: sa.Connection) -> None:
    shown = ask(c).pairing.id
    with pytest.raises(CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE)):
        approve(c, shown=PairingId("p-another"))
    assert (keys.find_key(c, KeyId("k-1")), approve(c, shown=shown).name) == (None, "desk")


def test_pairing_under_the_name_of_an_existing_device_is_refused(c: sa.Connection, desk: DeviceRow) -> None:
    ask(c, asking("k-2", code="CODE-2"))
    with pytest.raises(CodedError):
        approve(c, "CODE-2")
    assert approve(c, "CODE-2", name="desk-2", fresh="d-2").name == "desk-2"
    assert keys.list_keys(c, device_id=desk.id)[0].id == "k-1"


def test_operator_may_approve_another_key_for_a_known_device(c: sa.Connection, desk: DeviceRow) -> None:
    ask(c, asking("k-2", code="CODE-2"))
    assert approve(c, "CODE-2", name="desk", fresh="d-2") == desk
    assert [key.id for key in keys.list_keys(c, device_id=desk.id)] == ["k-1", "k-2"]


def test_first_approved_pairing_takes_the_device_named_by_an_agent(c: sa.Connection) -> None:
    user = ensure_user(c, ANNA, "anna", AT)
    named = devices.ensure_device(c, id=DeviceId("d-0"), user_id=user, name="desk", at=AT)
    ask(c)
    assert approve(c).id == named.id


@pytest.mark.usefixtures("asked")
def test_key_of_a_deleted_device_gets_a_new_undecided_pairing(c: sa.Connection) -> None:
    device = approve(c)
    c.execute(sa.delete(device_table).where(device_table.c.id == device.id))
    assert ask(c, asking(code="CODE-2")).pairing.decision is None


# --- invitations ---


HASH = b"\x01" * 32
END = AT + 600_000


def invite(
    c: sa.Connection, id: str = "i-1", *, uses: int = 1, name: str | None = None, at: int = AT
) -> InvitationRow:
    return INVITATIONS.create(
        c,
        id=InvitationId(id),
        token_hash=HASH,
        user_id=ensure_user(c, ANNA, "anna", AT),
        device_name=name,
        uses_left=uses,
        last4="abcd",
        actor="operator:0",
        at=at,
        expires_at=at + 600_000,
    )


def redeem(c: sa.Connection, key: str = "k-1", *, at: int = AT + 1, token_hash: bytes = HASH) -> KeyOwner:
    return pairings.redeem(
        c,
        token_hash,
        key_id=KeyId(key),
        public_key=key.encode(),
        fresh_id=DeviceId(f"d-{key}"),
        label="desk",
        at=at,
    )


@pytest.fixture
def made(c: sa.Connection) -> InvitationRow:
    """An invitation for one device."""
    return invite(c)


def test_invitation_admits_a_key_as_a_device_of_the_user(c: sa.Connection, made: InvitationRow) -> None:
    owner = redeem(c)
    assert (owner.device_id, owner.device_name, owner.user_id) == ("d-k-1", "desk", ANNA)
    assert keys.find_key(c, KeyId("k-1")) == owner
    (used,) = INVITATIONS.page(c)
    assert (made.uses_left, used.uses_left, used.user_name) == (1, 0, "anna")
    events = [row.event for row in audit.list_entries(c, limit=10, oldest_first=True)]
    assert events == ["invitation.created", "invitation.redeemed"]


def test_invitation_of_two_uses_admits_two_keys_and_a_repeated_key_once(c: sa.Connection) -> None:
    invite(c, uses=2)
    assert redeem(c, "k-1") == redeem(c, "k-1")
    assert redeem(c, "k-2").device_name == "desk-2"
    with pytest.raises(BadInvitation, match="as often"):
        redeem(c, "k-3")


def test_invitation_for_a_known_device_adds_a_key(c: sa.Connection) -> None:
    invite(c, name="laptop")
    known = devices.ensure_device(c, id=DeviceId("d-0"), user_id=ANNA, name="laptop", at=AT)
    assert redeem(c).device_id == known.id


def test_an_ended_invitation_gives_the_reason_and_is_deleted_a_week_later(
    c: sa.Connection, made: InvitationRow
) -> None:
    with pytest.raises(BadInvitation, match="no such"):
        redeem(c, token_hash=b"\x02" * 32)
    with pytest.raises(BadInvitation, match="expired"):
        redeem(c, at=END)
    assert INVITATIONS.revoke(c, made.id, at=AT, actor="operator:0")
    assert not INVITATIONS.revoke(c, made.id, at=AT, actor="operator:0")
    with pytest.raises(BadInvitation, match="revoked"):
        redeem(c)
    assert keys.list_keys(c) == []
    invite(c, "i-2", at=END + INVITATIONS.retention_ms)
    assert [row.id for row in INVITATIONS.page(c, user_id=ANNA)] == ["i-2"]
    assert INVITATIONS.find_by_id(c, made.id) is None
