import pytest
import sqlalchemy as sa

from protocol.ids import DeviceId, TokenId, UserId
from storage import agents, devices
from storage.agent_states import agent_history
from storage.devices import DeviceRow, UnknownDevice
from storage.schema import devices as device_table
from tests.storage.rows import AT, make_agent

HASH = b"\x01" * 32


def make_device(c: sa.Connection, id: str = "d-1", name: str = "laptop") -> DeviceRow:
    user = devices.ensure_user(c, UserId("u-1"), "anna", AT)
    return devices.ensure_device(c, id=DeviceId(id), user_id=user, name=name, at=AT)


def revoke(c: sa.Connection, device: DeviceRow) -> None:
    c.execute(sa.update(device_table).where(device_table.c.id == device.id).values(revoked_at=AT))


def test_a_name_stands_for_one_device_of_a_user(c: sa.Connection) -> None:
    first = make_device(c, "d-1")
    assert make_device(c, "d-2") == first
    assert devices.find_device_by_name(c, "laptop") == first
    assert devices.ensure_user(c, UserId("u-2"), "anna", AT) == "u-1"


def test_a_new_device_may_bear_the_name_of_a_revoked_one(c: sa.Connection) -> None:
    old = make_device(c, "d-1")
    revoke(c, old)
    new = make_device(c, "d-2")
    assert devices.find_device_by_name(c, "laptop") == new
    assert [row.id for row in devices.list_devices(c)] == ["d-1", "d-2"]


def test_a_device_that_is_not_there_is_told_of(c: sa.Connection) -> None:
    with pytest.raises(UnknownDevice, match="d-9"):
        devices.get_device(c, DeviceId("d-9"))
    assert devices.find_device_by_name(c, "desktop") is None


def test_a_token_leads_to_its_device_and_its_user(c: sa.Connection) -> None:
    device = make_device(c)
    token = devices.create_token(
        c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT, expires_at=AT + 1
    )
    owner = devices.find_token(c, HASH)
    assert owner is not None
    assert (owner.token_id, owner.device_id, owner.user_id) == ("t-1", "d-1", "u-1")
    assert (owner.device_name, owner.expires_at) == ("laptop", AT + 1)
    assert devices.list_tokens(c) == [token]
    assert devices.find_token(c, b"\x02" * 32) is None


def test_a_token_can_be_revoked_once_and_is_still_found(c: sa.Connection) -> None:
    device = make_device(c)
    devices.create_token(c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT)
    assert devices.revoke_token(c, TokenId("t-1"), AT + 5)
    assert not devices.revoke_token(c, TokenId("t-1"), AT + 9)
    owner = devices.find_token(c, HASH)
    assert owner is not None
    assert owner.token_revoked_at == AT + 5


def test_each_connection_of_a_device_has_a_higher_epoch(c: sa.Connection) -> None:
    device = make_device(c)
    devices.create_token(c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT)
    first = devices.open_session(c, device.id, platform="linux", at=AT)
    second = devices.open_session(c, device.id, platform=None, at=AT + 1, token_id=TokenId("t-1"))
    assert (first, second) == (1, 2)
    row = devices.get_device(c, device.id)
    assert (row.connectivity, row.platform, row.last_seen_at) == ("online", "linux", AT + 1)
    assert devices.list_tokens(c)[0].last_used_at == AT + 1


def test_the_end_of_an_older_connection_does_not_take_a_device_offline(c: sa.Connection) -> None:
    device = make_device(c)
    old = devices.open_session(c, device.id, platform=None, at=AT)
    new = devices.open_session(c, device.id, platform=None, at=AT)
    assert not devices.close_session(c, device.id, old, AT)
    assert devices.get_device(c, device.id).connectivity == "online"
    assert devices.close_session(c, device.id, new, AT)
    assert not devices.close_session(c, device.id, new, AT)
    assert devices.get_device(c, device.id).connectivity == "offline"


def test_a_token_revoked_after_it_was_looked_at_opens_no_session(c: sa.Connection) -> None:
    user_id = devices.ensure_user(c, UserId("u-1"), "anna", AT)
    device = devices.ensure_device(c, id=DeviceId("d-1"), user_id=user_id, name="desk", at=AT)
    devices.create_token(c, id=TokenId("t-1"), device_id=device.id, token_hash=b"hash", at=AT)
    devices.revoke_token(c, TokenId("t-1"), AT)
    with pytest.raises(devices.TokenRevoked):
        devices.open_session(c, device.id, platform=None, at=AT, token_id=TokenId("t-1"))
    assert devices.get_device(c, device.id).session_epoch == 0


def test_a_revoked_device_opens_no_session(c: sa.Connection) -> None:
    device = make_device(c)
    revoke(c, device)
    with pytest.raises(UnknownDevice):
        devices.open_session(c, device.id, platform=None, at=AT)


def test_agents_come_and_go_with_their_device(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert agent.device_id is not None
    epoch = devices.open_session(c, agent.device_id, platform=None, at=AT + 1)
    assert agents.get_agent(c, agent.id).connectivity == "online"
    devices.close_session(c, agent.device_id, epoch, AT + 2)
    assert [(move.axis, move.old_value, move.new_value) for move in agent_history(c, agent.id)] == [
        ("lifecycle", None, "active"),
        ("connectivity", "offline", "online"),
        ("connectivity", "online", "offline"),
    ]


def test_a_hub_that_starts_knows_that_nobody_is_connected(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert agent.device_id is not None
    devices.open_session(c, agent.device_id, platform=None, at=AT)
    assert devices.close_all_sessions(c, AT) == 1
    assert devices.close_all_sessions(c, AT) == 0
    assert agents.get_agent(c, agent.id).connectivity == "offline"
