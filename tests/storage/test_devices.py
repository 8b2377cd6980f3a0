import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.grants import Grant
from protocol.ids import AgentId, BoardId, BootId, DeviceId, InvitationId, KeyId, RunId, TokenId, UserId
from protocol.lifecycles import RunState
from storage import audit, schema
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards
from storage.devices import devices, keys, pairings, users
from storage.devices.devices import DeviceRow, NotGranted, UnknownDevice
from storage.devices.pairings import BadInvitation
from storage.devices.tokens import DEVICE_TOKENS, INVITATIONS
from storage.devices.users import UserRow
from storage.effects import sessions
from storage.effects.sessions import Taken, TooManyDevices
from storage.kernel.columns import now_ms
from storage.runs import runs
from storage.schedules import fires, schedule_rows, schedules
from storage.schema import browser_sessions, leases
from tests.storage.rows import AT, LAPTOP, ME, declare, make_agent, make_run, some
from tests.storage.scheduled import HOUR, fire, make_schedule
from tests.support.coded import coded
from tests.support.presence import BOOT, live, open_session
from tests.support.stored import agent_history

NEXT = BootId("boot-2")
HASH = b"\x01" * 32


def make_device(c: sa.Connection, id: str = "d-1", name: str = "laptop") -> DeviceRow:
    live(c)
    user = users.ensure_user(c, UserId("u-1"), "anna", AT)
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


def test_revoked_device_keeps_the_name_until_reused_by_another_device(c: sa.Connection) -> None:
    old, other = make_device(c, "d-1"), make_device(c, "d-2", "desk")
    revoke(c, old)
    assert (make_device(c, "d-3").id, devices.devices_called(c, "laptop")) == (old.id, [])
    devices.rename_device(c, other.id, "laptop", at=AT, actor="operator:7")
    assert make_device(c, "d-3").id == other.id


def test_devices_are_found_by_id_or_by_name(c: sa.Connection) -> None:
    mine = make_device(c, "d-1")
    otto = users.ensure_user(c, UserId("u-2"), "otto", AT)
    his = devices.ensure_device(c, id=DeviceId("d-2"), user_id=otto, name="laptop", at=AT)
    assert devices.devices_called(c, "laptop") == [mine, his]
    assert devices.devices_called(c, "laptop", user_id=otto) == [his]
    assert (devices.devices_called(c, "d-1"), devices.devices_called(c, "d-1", user_id=otto)) == ([mine], [])
    revoke(c, mine)
    assert devices.devices_called(c, "laptop") == [his]
    assert [row.revoked_at for row in devices.devices_called(c, "d-1")] == [AT]


def test_devices_and_tokens_are_listed_by_user(c: sa.Connection) -> None:
    mine = make_device(c, "d-1")
    otto = users.ensure_user(c, UserId("u-2"), "otto", AT)
    his = devices.ensure_device(c, id=DeviceId("d-2"), user_id=otto, name="laptop", at=AT)
    for device in (mine, his):
        token, hashed = TokenId(f"t-{device.id}"), device.id.encode()
        DEVICE_TOKENS.create(c, id=token, device_id=device.id, token_hash=hashed, at=AT)
    assert devices.list_devices(c, user_id=otto) == [his]
    assert [token.device_id for token in DEVICE_TOKENS.page(c, user_id=otto)] == ["d-2"]
    assert len(devices.list_devices(c)) == len(DEVICE_TOKENS.page(c)) == 2


def test_repeated_device_rename_writes_a_single_audit_entry(c: sa.Connection, device: DeviceRow) -> None:
    for _ in range(2):
        renamed = devices.rename_device(c, device.id, "desk", at=AT, actor="operator:7")
        assert (renamed.id, renamed.name) == ("d-1", "desk")
    assert audited(c) == [("device.renamed", "d-1", "operator:7")]


def test_rename_to_a_taken_name_or_of_a_revoked_device_is_refused(c: sa.Connection) -> None:
    device, _ = make_device(c, "d-1"), make_device(c, "d-2", "desk")
    with pytest.raises(CodedError, match="desk"):
        devices.rename_device(c, device.id, "desk", at=AT, actor="operator:7")
    revoke(c, device)
    with pytest.raises(CodedError, match="revoked"):
        devices.rename_device(c, device.id, "other", at=AT, actor="operator:7")


def test_device_named_in_hub_toml_cannot_be_renamed(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    with pytest.raises(
        CodedError, check=coded(ErrorCode.MANAGED_BY_FILE), match="'laptop' as the device of inbox"
    ):
        devices.rename_device(c, agent.device_id, "desk", at=AT, actor="operator:7")


def test_second_revocation_of_a_device_changes_nothing(c: sa.Connection, device: DeviceRow) -> None:
    revoke(c, device)
    assert not devices.revoke_device(c, device.id, at=AT + 1, actor="operator:7")
    assert devices.get_device(c, device.id).revoked_at == AT
    assert audited(c) == [("device.revoked", "d-1", "operator:7")]


def test_an_unknown_device_is_reported(c: sa.Connection) -> None:
    with pytest.raises(UnknownDevice, match="d-9"):
        devices.get_device(c, DeviceId("d-9"))
    assert devices.devices_called(c, "desktop") == []


def test_device_token_is_found_by_hash_with_device_and_user(c: sa.Connection, device: DeviceRow) -> None:
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


def test_token_row_has_last_characters_and_maker_but_never_the_token(
    c: sa.Connection, device: DeviceRow
) -> None:
    about = {"token_hash": HASH, "last4": "aB3x", "actor": "operator:7", "at": AT}
    token = DEVICE_TOKENS.create(c, id=TokenId("t-1"), device_id=device.id, **about)  # type: ignore[arg-type]
    DEVICE_TOKENS.revoke(c, token.id, at=AT, actor="token:t-9")
    assert (token.last4, token.created_by, token.user_id) == ("aB3x", "operator:7", "u-1")
    assert audited(c) == [("token.created", "t-1", "operator:7"), ("token.revoked", "t-1", "token:t-9")]


def test_only_valid_device_tokens_are_counted_and_old_ones_are_deleted(
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


def test_token_revoked_after_lookup_opens_no_session(c: sa.Connection) -> None:
    user_id = users.ensure_user(c, UserId("u-1"), "anna", AT)
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


def test_connectivity_of_an_agent_follows_the_session_of_the_device(
    c: sa.Connection, agent: AgentRow
) -> None:
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


def test_starting_hub_marks_all_devices_as_offline(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    open_session(c, agent.device_id, boot_id=BOOT, platform=None, at=AT)
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT, is_alone=True) == 1
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT, is_alone=True) == 0
    assert agents.get_agent(c, agent.id).connectivity == "offline"


def test_devices_of_a_dead_hub_are_offline_after_the_lease_expires(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    live(c, BOOT)
    open_session(c, agent.device_id, boot_id=BOOT, at=AT)
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 0
    assert agents.get_agent(c, agent.id).connectivity == "online"

    c.execute(sa.update(leases).values(expires_at=now_ms()))
    assert devices.get_device(c, agent.device_id).connectivity == "offline"
    assert sessions.close_left_sessions(c, AT, boot_id=BOOT, is_alone=False) == 0  # no hub closes its own
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 1
    assert agents.get_agent(c, agent.id).connectivity == "offline"
    assert agent_history(c, agent.id)[-1].reason == "its hub ended"


def test_frozen_hub_ends_connections_closed_by_another_hub(c: sa.Connection, agent: AgentRow) -> None:
    assert agent.device_id is not None
    epoch = open_session(c, agent.device_id, boot_id=BOOT, at=AT)
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT, is_alone=False) == 1
    assert sessions.taken_from(c, BOOT) == [Taken(agent.device_id, epoch, is_elsewhere=False)]
    assert not sessions.close_session(c, agent.device_id, epoch, AT)


def test_device_limit_of_a_user_counts_each_device_once_across_living_hubs(
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


def test_grant_change_of_a_revoked_device_is_refused(c: sa.Connection, device: DeviceRow) -> None:
    revoke(c, device)
    with pytest.raises(CodedError, match="revoked"):
        devices.change_grants(c, device.id, add=(Grant.CONNECTORS,), remove=(), at=AT, actor="operator:7")


# --- users ---


def test_a_name_is_unique_among_users(c: sa.Connection) -> None:
    assert users.find_user_by_name(c, "anna") is None
    anna = users.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="token:t-1")
    assert users.find_user_by_name(c, "anna") == anna
    assert audited(c) == [("user.created", "u-1", "token:t-1")]
    assert users.ensure_user(c, UserId("u-2"), "anna", AT) == "u-1"
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="anna"):
        users.create_user(c, id=UserId("u-2"), name="anna", at=AT, actor="operator:7")
    assert users.list_users(c) == [anna]


def test_users_are_listed_by_name_with_their_counted_devices(c: sa.Connection) -> None:
    for id, name in (("u-1", "otto"), ("u-2", "anna")):
        users.create_user(c, id=UserId(id), name=name, at=AT, actor="operator:7")
    for id, name in (("d-1", "desk"), ("d-2", "lab")):
        devices.ensure_device(c, id=DeviceId(id), user_id=UserId("u-1"), name=name, at=AT)
    devices.revoke_device(c, DeviceId("d-2"), at=AT, actor="operator:7")
    assert users.list_users(c) == [
        UserRow(UserId("u-2"), "anna", AT, 0),
        UserRow(UserId("u-1"), "otto", AT, 1),
    ]


def test_user_is_removed_only_when_owning_nothing(c: sa.Connection) -> None:
    users.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="operator:7")
    devices.ensure_device(c, id=DeviceId("d-1"), user_id=UserId("u-1"), name="desk", at=AT)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.ILLEGAL_TRANSITION), match=r"user 'anna' still owns: devices \(1\)$"
    ):
        users.remove_user(c, "anna", at=AT, actor="operator:7")
    devices.revoke_device(c, DeviceId("d-1"), at=AT, actor="operator:7")
    assert users.remove_user(c, "anna", at=AT, actor="operator:7").id == "u-1"
    assert users.list_users(c) == []
    *_, entry = c.execute(audit.ONWARDS, {"after": 0})
    assert (entry.event, entry.actor, entry.subject) == ("user.removed", "operator:7", "u-1")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_USER), match="anna"):
        users.remove_user(c, "anna", at=AT, actor="operator:7")


def test_unknown_user_names_are_listed_once(c: sa.Connection) -> None:
    users.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="operator:7")
    assert users.not_made_yet(c, ["otto", "anna", "otto"]) == ["otto"]


# --- devices that are let in again ---


OLD_KEY, OLD_TOKEN = KeyId("old"), b"\x01" * 32


def admit(c: sa.Connection, name: str = LAPTOP, *, user_id: UserId = ME) -> DeviceRow:
    id = DeviceId(f"new-{user_id}-{name}")
    return devices.admit_device(c, id=id, user_id=user_id, name=name, at=AT + 2, actor="operator:7")


def revoke_later(c: sa.Connection, device: DeviceRow) -> None:
    devices.revoke_device(c, device.id, at=AT + 1, actor="operator:7")


def test_readmitted_device_keeps_agents_runs_and_grants(c: sa.Connection) -> None:
    run = make_run(c)
    device = admit(c)
    assert device.id == run.device_id
    devices.change_grants(c, device.id, add=[], remove=[Grant.FILES], at=AT, actor="operator:7")
    before = devices.get_device(c, device.id)
    revoke_later(c, device)
    assert devices.ensure_device(c, id=DeviceId("d"), user_id=ME, name=LAPTOP, at=AT).revoked_at == AT + 1
    for _ in range(2):
        assert admit(c) == before
    assert agents.get_agent(c, run.agent_id).device_id == runs.get_run(c, run.id).device_id == device.id
    events = [(row.event, row.subject, row.actor) for row in audit.list_entries(c, limit=1)]
    assert events == [("device.reinstated", device.id, "operator:7")]


def test_earlier_credentials_of_a_readmitted_device_remain_revoked(c: sa.Connection) -> None:
    make_run(c)
    device = admit(c)
    keys.add_key(c, id=OLD_KEY, device_id=device.id, public_key=b"o", at=AT)
    DEVICE_TOKENS.create(
        c, id=TokenId("t"), device_id=device.id, token_hash=OLD_TOKEN, at=AT, actor="operator:7"
    )
    session = {"id": "s", "token_hash": b"s", "name": "me", "role": "viewer", "device_id": device.id}
    more = {"last4": "", "created_by": "me", "created_at": AT, "expires_at": AT + 9}
    c.execute(sa.insert(browser_sessions), session | more)
    revoke_later(c, device)
    admit(c)
    keys.add_key(c, id=KeyId("new"), device_id=device.id, public_key=b"n", at=AT + 2)
    assert {key.id: key.revoked_at for key in keys.list_keys(c)} == {"old": AT + 2, "new": None}
    token = some(DEVICE_TOKENS.find(c, OLD_TOKEN))
    assert token.revoked_at == c.execute(sa.select(browser_sessions.c.revoked_at)).scalar() == AT + 2
    # a hub that has not ended the connection of the old key yet still learns that it has to
    assert (device.id, f"key:{OLD_KEY}") in devices.revoked_since(c, AT + 2)
    assert (device.id, None) not in devices.revoked_since(c, AT)


def test_admission_under_another_name_or_user_creates_another_device(c: sa.Connection) -> None:
    run = make_run(c)
    device = admit(c)
    revoke_later(c, device)
    anna = users.ensure_user(c, UserId("anna"), "anna", AT)
    assert {admit(c, "desk").id, admit(c, user_id=anna).id}.isdisjoint({device.id})
    assert agents.get_agent(c, run.agent_id).device_id == device.id
    assert devices.get_device(c, device.id).revoked_at == AT + 1


def test_last_revoked_device_of_a_name_is_readmitted(c: sa.Connection) -> None:
    make_run(c)
    first, second = admit(c), admit(c, "desk")
    revoke_later(c, first)
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
def test_only_a_later_invitation_naming_a_revoked_device_readmits_the_device(
    c: sa.Connection, named: str | None, made_at: int, reason: str | None
) -> None:
    make_run(c)
    device = admit(c)
    revoke_later(c, device)
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


EVE = UserId("user-eve")
INBOX = AgentId("agent-inbox")


@pytest.fixture
def both(c: sa.Connection) -> tuple[AgentRow, AgentRow]:
    """My agent and eve's, which have the same name, each with a run: ``run-me`` and ``run-eve``."""
    users.ensure_user(c, EVE, "eve", AT)
    mine = DeclaredAgent(name="notes", device_name="desk", paths=("notes",))
    eves = msgspec.structs.replace(mine, user_name="eve")
    fresh = [f"{kind}-{of}" for of in ("mine", "eves") for kind in ("agent", "device", "schedule", "user")]
    users.ensure_user(c, ME, "me", AT)
    declared_agents.reconcile_declared(c, user_id=ME, declared=[mine, eves], at=AT, fresh_ids=fresh)
    first, second = (agents.agent_called(c, "notes", user) for user in (ME, EVE))
    for agent, run_id in ((first, "run-me"), (second, "run-eve")):
        make_run(c, run_id, agent=agent)
    return first, second


def test_agents_are_listed_and_found_by_user(c: sa.Connection, both: tuple[AgentRow, AgentRow]) -> None:
    mine, eves = both
    assert (mine.user_id, eves.user_id) == (ME, EVE)
    assert {row.id for row in agents.list_agents(c)} == {mine.id, eves.id}
    assert [row.id for row in agents.list_agents(c, user_id=EVE)] == [eves.id]
    assert len(agents.list_agents(c)) == 2
    assert some(agents.find_agent_by_name(c, "notes", user_id=EVE)).id == eves.id


def test_find_agent_does_not_return_an_archived_agent(
    c: sa.Connection, both: tuple[AgentRow, AgentRow]
) -> None:
    declare(c)
    assert agents.find_agent(c, "notes", user_id=ME) is None
    assert some(agents.find_agent_by_name(c, "notes", user_id=ME)).archived_at is not None


def test_runs_are_listed_found_and_counted_by_user(c: sa.Connection, both: tuple[AgentRow, AgentRow]) -> None:
    assert runs.find_run(c, RunId("run-eve"), user_id=ME) is None
    assert runs.find_run(c, RunId("run-eve"), user_id=EVE) is not None
    assert runs.find_run(c, RunId("run-eve")) is not None
    assert [run.id for run in runs.list_runs(c, user_id=ME)] == ["run-me"]
    make_run(c, "run-abcdef", agent=both[1])
    assert runs.whole_run_id(c, "abcdef", ME) == "abcdef"
    assert runs.whole_run_id(c, "abcdef", EVE) == runs.whole_run_id(c, "abcdef") == "run-abcdef"
    c.execute(sa.delete(schema.runs).where(schema.runs.c.id == "run-abcdef"))
    assert runs.count_live(c, user_id=ME) == {RunState.QUEUED: 1}
    assert runs.count_live(c) == {RunState.QUEUED: 2}


def test_find_owner_returns_the_user_of_each_kind_of_id(
    c: sa.Connection, both: tuple[AgentRow, AgentRow]
) -> None:
    _, eves = both
    assert eves.device_id is not None
    declared = schedule_rows.DeclaredSchedule(kind="every", every_ms=HOUR, tz="UTC")
    schedules.declare(c, eves.id, declared, fresh_id="schedule-of-eve", at=AT)
    things = {
        "agent_id": eves.id,
        "device_id": eves.device_id,
        "run_id": "run-eve",
        "schedule_id": "schedule-of-eve",
        **_coordination_of_eve(c),
    }
    assert things.keys() == users.KINDS
    for kind, id in things.items():
        assert (users.find_owner(c, kind, id), users.find_owner(c, kind, "nothing")) == (EVE, None)


def _coordination_of_eve(c: sa.Connection) -> dict[str, str]:
    """A board of hers, and one of each thing that is said on it."""
    about = {"user_id": EVE, "created_at": AT}
    said = {"actor": "hub", "content": "x", "trace_id": "0" * 32}
    row = {"id": "gateway", "name": "west", "updated_at": AT} | about
    c.execute(sa.insert(schema.gateways), row)
    boards.create_board(c, id=BoardId("board"), user_id=EVE, name="roses", at=AT, actor="hub")
    row = {"id": "question", "expires_at": AT} | about | said
    c.execute(sa.insert(schema.questions), row)
    row = {"id": "broadcast", "kind": "question", "boards": 1} | about | said
    c.execute(sa.insert(schema.broadcasts), row)
    row = {"id": "message", "kind": "nudge", "not_before": AT, "expires_at": AT, "updated_at": AT} | about
    c.execute(sa.insert(schema.messages), row | said)
    return {f"{kind}_id": kind for kind in ("board", "broadcast", "gateway", "message", "question")}


def test_fire_decisions_of_an_agent_are_listed_in_pages(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    times = [AT + count * HOUR for count in (1, 2, 3, 4, 5)]
    fire(c, *times)
    told: list[int] = []
    after: tuple[int, str] | None = None
    while page := fires.list_fires(c, INBOX, 2, after=after):
        told += [row.fire_at for row in page]
        after = (page[-1].fire_at, page[-1].schedule_id)
    assert told == times[::-1]
