import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, DeviceId, TokenId, UserId
from storage import audit
from storage.agents import agents
from storage.agents.agent_states import agent_history
from storage.agents.agents import AgentRow
from storage.devices import devices, sessions
from storage.devices.devices import DeviceRow, Grant, NotGranted, UnknownDevice
from storage.devices.sessions import Taken, TooManyDevices
from storage.devices.tokens import DEVICE_TOKENS
from storage.kernel.columns import now_ms
from storage.schema import leases
from tests.storage.rows import AT, make_agent, some
from tests.support.coded import coded
from tests.support.presence import BOOT, live, open_session

NEXT = BootId("boot-2")
HASH = b"\x01" * 32


def make_device(c: sa.Connection, id: str = "d-1", name: str = "laptop") -> DeviceRow:
    live(c)
    user = devices.ensure_user(c, UserId("u-1"), "anna", AT)
    return devices.ensure_device(c, id=DeviceId(id), user_id=user, name=name, at=AT)


def revoke(c: sa.Connection, device: DeviceRow) -> None:
    assert devices.revoke_device(c, device.id, at=AT, actor="operator:7")


def audited(c: sa.Connection) -> list[tuple[str, str | None, str]]:
    """What the audit tells: event, subject, actor."""
    return [(entry.event, entry.subject, entry.actor) for entry in c.execute(audit.ONWARDS, {"after": 0})]


@pytest.fixture
def device(c: sa.Connection) -> DeviceRow:
    """Anna's laptop."""
    return make_device(c)


def test_a_name_is_unique_among_the_devices_of_a_user(c: sa.Connection) -> None:
    first = make_device(c, "d-1")
    assert (make_device(c, "d-2"), devices.list_devices(c)) == (first, [first])


def test_a_revoked_device_keeps_its_name_until_another_device_takes_it(c: sa.Connection) -> None:
    old, other = make_device(c, "d-1"), make_device(c, "d-2", "desk")
    revoke(c, old)
    assert (make_device(c, "d-3").id, devices.devices_called(c, "laptop")) == (old.id, [])
    devices.rename_device(c, other.id, "laptop", at=AT, actor="operator:7")
    assert make_device(c, "d-3").id == other.id


def test_a_device_is_called_by_its_id_or_by_its_name(c: sa.Connection) -> None:
    mine = make_device(c, "d-1")
    otto = devices.ensure_user(c, UserId("u-2"), "otto", AT)
    his = devices.ensure_device(c, id=DeviceId("d-2"), user_id=otto, name="laptop", at=AT)
    assert devices.devices_called(c, "laptop") == [mine, his]
    assert devices.devices_called(c, "laptop", user_id=otto) == [his]
    assert (devices.devices_called(c, "d-1"), devices.devices_called(c, "d-1", user_id=otto)) == ([mine], [])
    revoke(c, mine)
    assert devices.devices_called(c, "laptop") == [his]
    assert [row.revoked_at for row in devices.devices_called(c, "d-1")] == [AT]


def test_a_user_has_a_list_of_devices_and_tokens_apart_from_others(c: sa.Connection) -> None:
    mine = make_device(c, "d-1")
    otto = devices.ensure_user(c, UserId("u-2"), "otto", AT)
    his = devices.ensure_device(c, id=DeviceId("d-2"), user_id=otto, name="laptop", at=AT)
    for device in (mine, his):
        token, hashed = TokenId(f"t-{device.id}"), device.id.encode()
        DEVICE_TOKENS.create(c, id=token, device_id=device.id, token_hash=hashed, at=AT)
    assert devices.list_devices(c, user_id=otto) == [his]
    assert [token.device_id for token in DEVICE_TOKENS.page(c, user_id=otto)] == ["d-2"]
    assert len(devices.list_devices(c)) == len(DEVICE_TOKENS.page(c)) == 2


def test_a_device_is_renamed_once(c: sa.Connection, device: DeviceRow) -> None:
    for _ in range(2):
        renamed = devices.rename_device(c, device.id, "desk", at=AT, actor="operator:7")
        assert (renamed.id, renamed.name) == ("d-1", "desk")
    assert audited(c) == [("device.renamed", "d-1", "operator:7")]


def test_a_device_is_not_renamed_to_what_is_taken_nor_after_it_was_revoked(c: sa.Connection) -> None:
    device, _ = make_device(c, "d-1"), make_device(c, "d-2", "desk")
    with pytest.raises(CodedError, match="desk"):
        devices.rename_device(c, device.id, "desk", at=AT, actor="operator:7")
    revoke(c, device)
    with pytest.raises(CodedError, match="revoked"):
        devices.rename_device(c, device.id, "other", at=AT, actor="operator:7")


def test_a_device_that_hub_toml_names_keeps_its_name(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    with pytest.raises(
        CodedError, check=coded(ErrorCode.MANAGED_BY_FILE), match="'laptop' as the device of inbox"
    ):
        devices.rename_device(c, agent.device_id, "desk", at=AT, actor="operator:7")


def test_a_device_is_revoked_for_good_and_once(c: sa.Connection, device: DeviceRow) -> None:
    revoke(c, device)
    assert not devices.revoke_device(c, device.id, at=AT + 1, actor="operator:7")
    assert devices.get_device(c, device.id).revoked_at == AT
    assert audited(c) == [("device.revoked", "d-1", "operator:7")]


def test_an_unknown_device_is_reported(c: sa.Connection) -> None:
    with pytest.raises(UnknownDevice, match="d-9"):
        devices.get_device(c, DeviceId("d-9"))
    assert devices.devices_called(c, "desktop") == []


def test_a_token_leads_to_its_device_and_its_user(c: sa.Connection, device: DeviceRow) -> None:
    token = DEVICE_TOKENS.create(
        c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT, expires_at=AT + 1
    )
    owner = some(DEVICE_TOKENS.find(c, HASH))
    assert (owner.id, owner.device_id, owner.user_id, owner.device_name, owner.expires_at) == (
        "t-1",
        "d-1",
        "u-1",
        "laptop",
        AT + 1,
    )
    assert (DEVICE_TOKENS.page(c), DEVICE_TOKENS.find_by_id(c, token.id)) == ([token], token)
    assert DEVICE_TOKENS.find(c, b"\x02" * 32) is None


def test_a_token_row_has_its_end_and_its_maker_and_never_the_token(
    c: sa.Connection, device: DeviceRow
) -> None:
    about = {"token_hash": HASH, "last4": "aB3x", "actor": "operator:7", "at": AT}
    token = DEVICE_TOKENS.create(c, id=TokenId("t-1"), device_id=device.id, **about)  # type: ignore[arg-type]
    DEVICE_TOKENS.revoke(c, token.id, at=AT, actor="token:t-9")
    assert (token.last4, token.created_by, token.user_id) == ("aB3x", "operator:7", "u-1")
    assert audited(c) == [("token.created", "t-1", "operator:7"), ("token.revoked", "t-1", "token:t-9")]


def test_tokens_that_open_something_are_counted_and_old_ones_forgotten(
    c: sa.Connection, device: DeviceRow
) -> None:
    for id, expires_at in (("t-1", None), ("t-2", AT + 9)):
        token, hashed = TokenId(id), id.encode()
        DEVICE_TOKENS.create(
            c, id=token, device_id=device.id, token_hash=hashed, at=AT, expires_at=expires_at
        )
    assert [DEVICE_TOKENS.count(c, AT + late) for late in (8, 9)] == [2, 1]

    later = AT + 9 + DEVICE_TOKENS.retention_ms
    DEVICE_TOKENS.create(c, id=TokenId("t-3"), device_id=device.id, token_hash=HASH, at=later)
    assert [token.id for token in DEVICE_TOKENS.page(c)] == ["t-1", "t-3"]


def test_a_token_can_be_revoked_once_and_is_still_found(c: sa.Connection, device: DeviceRow) -> None:
    DEVICE_TOKENS.create(c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT)
    assert DEVICE_TOKENS.revoke(c, TokenId("t-1"), at=AT + 5, actor="hub")
    assert not DEVICE_TOKENS.revoke(c, TokenId("t-1"), at=AT + 9, actor="hub")
    assert some(DEVICE_TOKENS.find(c, HASH)).revoked_at == AT + 5


def test_each_connection_of_a_device_has_a_higher_epoch(c: sa.Connection, device: DeviceRow) -> None:
    DEVICE_TOKENS.create(c, id=TokenId("t-1"), device_id=device.id, token_hash=HASH, at=AT)
    first = open_session(c, device.id, boot_id=BOOT, platform="linux", at=AT)
    second = open_session(c, device.id, boot_id=BOOT, platform=None, at=AT + 1, token_id=TokenId("t-1"))
    assert (first, second) == (1, 2)
    row = devices.get_device(c, device.id)
    assert (row.connectivity, row.platform, row.last_seen_at) == ("online", "linux", AT + 1)
    assert DEVICE_TOKENS.page(c)[0].last_used_at == AT + 1


def test_the_end_of_an_older_connection_does_not_take_a_device_offline(
    c: sa.Connection, device: DeviceRow
) -> None:
    old = open_session(c, device.id, boot_id=BOOT, platform=None, at=AT)
    new = open_session(c, device.id, boot_id=BOOT, platform=None, at=AT)
    assert not sessions.close_session(c, device.id, old, AT)
    assert devices.get_device(c, device.id).connectivity == "online"
    assert sessions.close_session(c, device.id, new, AT) and not sessions.close_session(c, device.id, new, AT)
    assert devices.get_device(c, device.id).connectivity == "offline"


def test_a_token_revoked_after_it_was_looked_at_opens_no_session(c: sa.Connection) -> None:
    user_id = devices.ensure_user(c, UserId("u-1"), "anna", AT)
    device = devices.ensure_device(c, id=DeviceId("d-1"), user_id=user_id, name="desk", at=AT)
    DEVICE_TOKENS.create(c, id=TokenId("t-1"), device_id=device.id, token_hash=b"hash", at=AT)
    DEVICE_TOKENS.revoke(c, TokenId("t-1"), at=AT, actor="hub")
    with pytest.raises(devices.TokenRevoked):
        open_session(c, device.id, boot_id=BOOT, platform=None, at=AT, token_id=TokenId("t-1"))
    assert devices.get_device(c, device.id).session_epoch == 0


def test_a_revoked_device_opens_no_session(c: sa.Connection, device: DeviceRow) -> None:
    revoke(c, device)
    with pytest.raises(UnknownDevice):
        open_session(c, device.id, boot_id=BOOT, platform=None, at=AT)


def test_agents_come_and_go_with_their_device(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    epoch = open_session(c, agent.device_id, boot_id=BOOT, platform=None, at=AT + 1)
    assert agents.get_agent(c, agent.id).connectivity == "online"
    sessions.close_session(c, agent.device_id, epoch, AT + 2)
    history = agent_history(c, agent.id)
    assert [move.reason for move in history[-2:]] == ["its device connected", "its device left"]
    assert [(move.axis, move.old_value, move.new_value) for move in history] == [
        ("lifecycle", None, "created"),
        ("lifecycle", "created", "initializing"),
        ("lifecycle", "initializing", "ready"),
        ("lifecycle", "ready", "active"),
        ("connectivity", "offline", "online"),
        ("connectivity", "online", "offline"),
    ]


def test_a_hub_that_starts_marks_all_devices_as_offline(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    open_session(c, agent.device_id, boot_id=BOOT, platform=None, at=AT)
    assert devices.close_left_sessions(c, AT, boot_id=NEXT, is_alone=True) == 1
    assert devices.close_left_sessions(c, AT, boot_id=NEXT, is_alone=True) == 0
    assert agents.get_agent(c, agent.id).connectivity == "offline"


def test_devices_and_agents_of_a_hub_that_died_are_offline_once_its_lease_has_ended(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert agent.device_id is not None
    live(c, BOOT)
    open_session(c, agent.device_id, boot_id=BOOT, at=AT)
    assert devices.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 0
    assert agents.get_agent(c, agent.id).connectivity == "online"

    c.execute(sa.update(leases).values(expires_at=now_ms()))
    assert devices.get_device(c, agent.device_id).connectivity == "offline"
    assert devices.close_left_sessions(c, AT, boot_id=BOOT, is_alone=False) == 0  # no hub closes its own
    assert devices.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 1
    assert agents.get_agent(c, agent.id).connectivity == "offline"
    assert agent_history(c, agent.id)[-1].reason == "its hub ended"


def test_a_hub_that_was_only_frozen_ends_the_connections_that_others_closed(
    c: sa.Connection, agent: AgentRow
) -> None:
    assert agent.device_id is not None
    epoch = open_session(c, agent.device_id, boot_id=BOOT, at=AT)
    assert devices.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 1
    assert sessions.taken_from(c, BOOT) == [Taken(agent.device_id, epoch, is_elsewhere=False)]
    assert not sessions.close_session(c, agent.device_id, epoch, AT)


def test_a_user_has_so_many_devices_at_all_hubs_that_live_and_one_that_moves_is_none_more(
    c: sa.Connection,
) -> None:
    for boot in (BOOT, NEXT):
        live(c, boot)
    first, second, third = (DeviceId(f"device-{make_agent(c, name, device=name).name}") for name in "abc")
    open_session(c, first, boot_id=BOOT, at=AT, per_user=2)
    open_session(c, second, boot_id=NEXT, at=AT, per_user=2)
    with pytest.raises(TooManyDevices, match="2 devices of this user are connected, and no more may be"):
        open_session(c, third, boot_id=BOOT, at=AT, per_user=2)
    assert devices.get_device(c, third).session_epoch == 0
    open_session(c, first, boot_id=NEXT, at=AT, per_user=2)

    c.execute(sa.update(leases).where(leases.c.holder_boot_id == NEXT).values(expires_at=now_ms()))
    for device_id in (third, first):  # those of a dead hub do not count
        open_session(c, device_id, boot_id=BOOT, at=AT, per_user=2)


def test_a_device_is_granted_all_but_connectors_by_default(c: sa.Connection, device: DeviceRow) -> None:
    assert device.grants == ["files", "agents", "coordination"]
    devices.require_grant(c, device.id, Grant.FILES)
    with pytest.raises(NotGranted, match="'laptop' is not granted 'connectors'"):
        devices.require_grant(c, device.id, Grant.CONNECTORS)

    add, remove = (Grant.CONNECTORS,), (Grant.FILES, Grant.AGENTS)
    for _ in range(2):
        changed = devices.change_grants(c, device.id, add=add, remove=remove, at=AT, actor="operator:7")
        assert changed.grants == ["connectors", "coordination"]
    assert audited(c) == [("device.granted", "d-1", "operator:7")]


def test_a_revoked_device_is_granted_nothing_more(c: sa.Connection, device: DeviceRow) -> None:
    revoke(c, device)
    with pytest.raises(CodedError, match="revoked"):
        devices.change_grants(c, device.id, add=(Grant.CONNECTORS,), remove=(), at=AT, actor="operator:7")
