"""Devices that were revoked, and are let in again under their names."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError
from protocol.ids import DeviceId, InvitationId, KeyId, TokenId, UserId
from storage import audit
from storage.agents import agents
from storage.devices import device_keys, devices, pairings
from storage.devices.devices import DeviceRow
from storage.devices.pairings import BadInvitation
from storage.devices.tokens import DEVICE_TOKENS, INVITATIONS
from storage.runs import runs
from storage.schema import browser_sessions
from tests.storage.rows import AT, LAPTOP, ME, make_run, some

OLD_KEY, OLD_TOKEN = KeyId("old"), b"\x01" * 32


def admit(c: sa.Connection, name: str = LAPTOP, *, user_id: UserId = ME) -> DeviceRow:
    id = DeviceId(f"new-{user_id}-{name}")
    return devices.admit_device(c, id=id, user_id=user_id, name=name, at=AT + 2, actor="operator:7")


def revoke(c: sa.Connection, device: DeviceRow) -> None:
    devices.revoke_device(c, device.id, at=AT + 1, actor="operator:7")


def test_a_revoked_device_is_let_in_again_with_all_that_is_its_own(c: sa.Connection) -> None:
    run = make_run(c)
    device = admit(c)
    assert device.id == run.device_id
    devices.change_grants(c, device.id, add=[], remove=[devices.Grant.FILES], at=AT, actor="operator:7")
    before = devices.get_device(c, device.id)
    revoke(c, device)
    assert devices.ensure_device(c, id=DeviceId("d"), user_id=ME, name=LAPTOP, at=AT).revoked_at == AT + 1
    for _ in range(2):
        assert admit(c) == before
    assert agents.get_agent(c, run.agent_id).device_id == runs.get_run(c, run.id).device_id == device.id
    events = [(row.event, row.subject, row.actor) for row in audit.list_entries(c, limit=1)]
    assert events == [("device.reinstated", device.id, "operator:7")]


def test_earlier_credentials_of_a_device_that_is_let_in_again_stay_refused(c: sa.Connection) -> None:
    make_run(c)
    device = admit(c)
    device_keys.add_key(c, id=OLD_KEY, device_id=device.id, public_key=b"o", at=AT)
    DEVICE_TOKENS.create(
        c, id=TokenId("t"), device_id=device.id, token_hash=OLD_TOKEN, at=AT, actor="operator:7"
    )
    session = {"id": "s", "token_hash": b"s", "name": "me", "role": "viewer", "device_id": device.id}
    more = {"last4": "", "created_by": "me", "created_at": AT, "expires_at": AT + 9}
    c.execute(sa.insert(browser_sessions), session | more)
    revoke(c, device)
    admit(c)
    device_keys.add_key(c, id=KeyId("new"), device_id=device.id, public_key=b"n", at=AT + 2)
    assert {key.id: key.revoked_at for key in device_keys.list_keys(c)} == {"old": AT + 2, "new": None}
    token = some(DEVICE_TOKENS.find(c, OLD_TOKEN))
    assert token.revoked_at == c.execute(sa.select(browser_sessions.c.revoked_at)).scalar() == AT + 2
    # a hub that has not ended the connection of the old key yet still learns that it has to
    assert devices.Revocation(device.id, f"key:{OLD_KEY}") in devices.revoked_since(c, AT + 2)
    assert devices.Revocation(device.id, None) not in devices.revoked_since(c, AT)


def test_a_device_of_another_name_or_user_is_another_device(c: sa.Connection) -> None:
    run = make_run(c)
    device = admit(c)
    revoke(c, device)
    anna = devices.ensure_user(c, UserId("anna"), "anna", AT)
    assert {admit(c, "desk").id, admit(c, user_id=anna).id}.isdisjoint({device.id})
    assert agents.get_agent(c, run.agent_id).device_id == device.id
    assert devices.get_device(c, device.id).revoked_at == AT + 1


def test_of_revoked_devices_with_one_name_the_last_one_is_let_in(c: sa.Connection) -> None:
    make_run(c)
    first, second = admit(c), admit(c, "desk")
    revoke(c, first)
    devices.rename_device(c, second.id, LAPTOP, at=AT + 2, actor="operator:7")
    assert admit(c).id == second.id
    devices.revoke_device(c, second.id, at=AT + 3, actor="operator:7")
    assert admit(c).id == second.id


@pytest.mark.parametrize(
    ("named", "made_at", "reason"),
    [
        (LAPTOP, AT + 2, None),
        (LAPTOP, AT, "revoked after the invitation"),
        (None, AT + 2, f"pair invite --device {LAPTOP}"),
    ],
)
def test_an_invitation_lets_a_revoked_device_in_again_if_it_names_it_and_was_made_since(
    c: sa.Connection, named: str | None, made_at: int, reason: str | None
) -> None:
    make_run(c)
    device = admit(c)
    revoke(c, device)
    INVITATIONS.create(
        c,
        id=InvitationId("i"),
        token_hash=OLD_TOKEN,
        user_id=ME,
        device_name=named,
        uses_left=1,
        last4="abcd",
        actor="operator:7",
        at=made_at,
        expires_at=AT + 600_000,
    )

    def redeem() -> DeviceId:
        return pairings.redeem(
            c,
            OLD_TOKEN,
            key_id=KeyId("new"),
            public_key=b"n",
            fresh_id=DeviceId("d-2"),
            label=LAPTOP,
            at=AT + 3,
        ).device_id

    if reason is None:
        assert redeem() == device.id
        return
    with pytest.raises((BadInvitation, CodedError)) as refused:
        redeem()
    assert reason in f"{refused.value} {getattr(refused.value, 'hint', '')}"
    assert devices.get_device(c, device.id).revoked_at == AT + 1
