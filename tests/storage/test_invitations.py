import pytest
import sqlalchemy as sa

from protocol.ids import DeviceId, InvitationId, KeyId, UserId
from storage import audit
from storage.devices import device_keys, devices, pairings
from storage.devices.device_keys import KeyOwner
from storage.devices.devices import ensure_user
from storage.devices.pairings import BadInvitation
from storage.devices.tokens import INVITATIONS, InvitationRow
from tests.storage.rows import AT

ANNA = UserId("anna")
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


def test_an_invitation_lets_a_key_in_as_a_device_of_the_user_it_was_made_for(
    c: sa.Connection, made: InvitationRow
) -> None:
    owner = redeem(c)
    assert (owner.device_id, owner.device_name, owner.user_id) == ("d-k-1", "desk", ANNA)
    assert device_keys.find_key(c, KeyId("k-1")) == owner
    (used,) = INVITATIONS.page(c)
    assert (made.uses_left, used.uses_left, used.user_name) == (1, 0, "anna")
    events = [row.event for row in audit.list_entries(c, limit=10, oldest_first=True)]
    assert events == ["invitation.created", "invitation.redeemed"]


def test_an_invitation_for_two_lets_two_in_and_the_same_key_spends_one_use(c: sa.Connection) -> None:
    invite(c, uses=2)
    assert redeem(c, "k-1") == redeem(c, "k-1")
    assert redeem(c, "k-2").device_name == "desk-2"
    with pytest.raises(BadInvitation, match="as often"):
        redeem(c, "k-3")


def test_an_invitation_for_a_known_device_gives_it_one_more_key(c: sa.Connection) -> None:
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
    assert device_keys.list_keys(c) == []
    invite(c, "i-2", at=END + INVITATIONS.retention_ms)
    assert [row.id for row in INVITATIONS.page(c, user_id=ANNA)] == ["i-2"]
    assert INVITATIONS.find_by_id(c, made.id) is None
