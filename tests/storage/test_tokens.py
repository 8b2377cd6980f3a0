import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, KeyId, TokenId, UserId
from storage import audit
from storage.agents import state_moves
from storage.devices import devices, keys, tokens, users
from storage.devices.browser_sessions import SESSIONS
from storage.devices.devices import DeviceRow
from storage.devices.keys import KeyRevoked, RotatedTooSoon
from storage.devices.tokens import (
    AGENT_TOKENS,
    DEVICE_TOKENS,
    INVITATIONS,
    OPERATOR_TOKENS,
    AgentTokenRow,
    OperatorTokenRow,
    TooManyAgentTokens,
    create_agent_token,
    list_agent_tokens,
)
from storage.devices.users import ensure_user
from storage.kernel.database import translated
from storage.kernel.migrate import broken_rows
from storage.schema import operator_tokens
from tests.storage.rows import AT, ME, declare, make_agent, some
from tests.support import stored
from tests.support.coded import coded
from tests.support.presence import BOOT, live, open_session

HASH = b"\x01" * 32
LATER = AT + 1_000


def make_token(
    c: sa.Connection, id: str = "t-1", *, token_hash: bytes = HASH, user_id: UserId | None = None
) -> OperatorTokenRow:
    return OPERATOR_TOKENS.create(
        c,
        id=TokenId(id),
        token_hash=token_hash,
        name="backup job",
        role="operator",
        scopes=["read", "run"],
        user_id=user_id,
        last4="aB3x",
        actor="operator:7",
        at=AT,
        expires_at=LATER,
    )


def test_operator_token_is_found_by_hash_with_role_scopes_and_user(c: sa.Connection) -> None:
    made = make_token(c, user_id=users.ensure_user(c, UserId("u-1"), "anna", AT))
    assert OPERATOR_TOKENS.find(c, HASH) == made
    assert (made.role, made.scopes, made.user_id, made.user_name) == (
        "operator",
        ("read", "run"),
        "u-1",
        "anna",
    )
    assert (made.last4, made.created_by, made.expires_at, made.last_used_at) == (
        "aB3x",
        "operator:7",
        LATER,
        None,
    )
    assert OPERATOR_TOKENS.find(c, b"\x02" * 32) is None


def test_token_limits_with_a_non_list_value_are_a_broken_row(c: sa.Connection) -> None:
    limits = {"devices": [], "tables": ["tasks"], "roots": [], "scopes": ["read"]}
    change = sa.update(operator_tokens).where(operator_tokens.c.id == make_token(c).id)
    c.execute(change.values(limits=limits))
    assert broken_rows(c) == []
    c.execute(change.values(limits=limits | {"tables": {"tasks": 1}}))
    assert [row.what for row in broken_rows(c)] == ["limits has a value that is no JSON array"]


def test_end_of_an_id_names_tokens_of_the_asking_user_alone(c: sa.Connection) -> None:
    anna, bo = (ensure_user(c, UserId(f"u-{name}"), name, AT) for name in ("anna", "bo"))
    made = {
        user: [
            make_token(c, f"{user}-{nth}-00abcdef", token_hash=f"{user}{nth}".encode() * 8, user_id=user).id
            for nth in range(count)
        ]
        for user, count in ((anna, 1), (bo, 2))
    }
    assert (found := OPERATOR_TOKENS.find_by_end(c, "abcdef", anna)) and [found.id] == made[anna]
    assert OPERATOR_TOKENS.find_by_end(c, made[bo][0], anna) is None
    with pytest.raises(CodedError, match="several ids end in") as several:
        OPERATOR_TOKENS.find_by_end(c, "abcdef", bo)
    assert [id in str(several.value) for id in (*made[bo], *made[anna])] == [True, True, False]
    with pytest.raises(CodedError, match=made[anna][0]):
        OPERATOR_TOKENS.find_by_end(c, "abcdef", None)
    for kind in (DEVICE_TOKENS, AGENT_TOKENS, INVITATIONS, SESSIONS):
        assert kind.find_by_end(c, "abcdef", anna) is None


def test_operator_tokens_are_listed_by_user(c: sa.Connection) -> None:
    anna = users.ensure_user(c, UserId("u-1"), "anna", AT)
    everybodys, annas = make_token(c), make_token(c, "t-2", token_hash=b"\x02" * 32, user_id=anna)
    assert (OPERATOR_TOKENS.page(c), OPERATOR_TOKENS.page(c, user_id=anna)) == ([everybodys, annas], [annas])


def test_only_valid_operator_tokens_are_counted(c: sa.Connection) -> None:
    make_token(c)
    OPERATOR_TOKENS.revoke(c, make_token(c, "t-2", token_hash=b"\x02" * 32).id, at=AT, actor="hub")
    assert (OPERATOR_TOKENS.count(c, AT), OPERATOR_TOKENS.count(c, LATER)) == (1, 0)


def test_creation_and_revocation_of_an_operator_token_are_in_the_audit_log(c: sa.Connection) -> None:
    OPERATOR_TOKENS.revoke(c, make_token(c).id, at=AT + 5, actor="token:t-9")
    made, revoked = c.execute(audit.ONWARDS, {"after": 0})
    assert (made.event, made.actor, made.subject, made.detail) == (
        "operator_token.created",
        "operator:7",
        "t-1",
        '{"name":"backup job","role":"operator","scopes":"read run","user":null}',
    )
    assert (revoked.event, revoked.actor) == ("operator_token.revoked", "token:t-9")


INBOX = AgentId("agent-inbox")


@pytest.fixture(autouse=True)
def _inbox(c: sa.Connection) -> None:
    make_agent(c)


def make(
    c: sa.Connection,
    id: str = "t-1",
    *,
    token_hash: bytes = HASH,
    agent_id: AgentId = INBOX,
    at: int = AT,
    most: int = 2,
) -> AgentTokenRow:
    return create_agent_token(
        c,
        id=TokenId(id),
        token_hash=token_hash,
        agent_id=agent_id,
        last4="aB3x",
        most=most,
        actor="operator:7",
        at=at,
        expires_at=at + 1_000,
    )


def find(c: sa.Connection) -> AgentTokenRow:
    return some(AGENT_TOKENS.find(c, HASH))


def test_agent_token_is_found_by_hash_with_agent_and_user(c: sa.Connection) -> None:
    made = make(c)
    assert find(c) == made == AGENT_TOKENS.find_by_id(c, made.id)
    assert (made.agent_id, made.agent_name, made.user_id, made.user_name, made.is_removed) == (
        *(INBOX, "inbox"),
        *(ME, "me", False),
    )
    assert (made.last4, made.created_by, made.expires_at, made.last_used_at) == (
        *("aB3x", "operator:7"),
        *(LATER, None),
    )
    assert AGENT_TOKENS.find(c, b"\x02" * 32) is None


def test_revoked_agent_token_is_found_and_records_no_second_revocation_or_use(c: sa.Connection) -> None:
    token = make(c)
    AGENT_TOKENS.use(c, token.id, AT + 3)
    assert AGENT_TOKENS.revoke(c, token.id, at=AT + 5, actor="operator:7")
    assert not AGENT_TOKENS.revoke(c, token.id, at=AT + 9, actor="operator:7")
    AGENT_TOKENS.use(c, token.id, AT + 9)
    assert (find(c).revoked_at, find(c).last_used_at) == (AT + 5, AT + 3)


def test_token_of_a_removed_or_terminated_agent_is_marked_as_removed(c: sa.Connection) -> None:
    make(c)
    state_moves.move(c, INBOX, "lifecycle", "terminated", at=AT, actor="operator:7", reason="done")
    assert find(c).is_removed
    declare(c)
    assert find(c).is_removed
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        make(c, "t-2", token_hash=b"\x02" * 32)


def test_agent_token_beyond_the_limit_of_valid_tokens_is_refused(c: sa.Connection) -> None:
    first = make(c, most=1)
    with pytest.raises(TooManyAgentTokens, match="agent_tokens_per_agent"):
        make(c, "t-2", token_hash=b"\x02" * 32, most=1)
    AGENT_TOKENS.revoke(c, first.id, at=AT, actor="operator:7")
    second = make(c, "t-2", token_hash=b"\x02" * 32, most=1)
    assert [row.id for row in list_agent_tokens(c, INBOX)] == ["t-1", "t-2"]
    make(c, "t-3", token_hash=b"\x03" * 32, at=(second.expires_at + AGENT_TOKENS.retention_ms), most=1)
    assert [row.id for row in list_agent_tokens(c, INBOX)] == ["t-3"], "the old ones went"


def test_the_maker_and_the_revoker_of_a_token_are_in_the_audit_log(c: sa.Connection) -> None:
    AGENT_TOKENS.revoke(c, make(c).id, at=AT, actor="operator:7")
    told = [entry.event for entry in audit.list_entries(c, limit=2)]
    assert told == ["agent_token.revoked", "agent_token.created"]


ANNA = UserId("anna")
OLD, NEW = KeyId("old"), KeyId("new")


def make_device(c: sa.Connection, name: str = "desk") -> DeviceRow:
    user = ensure_user(c, ANNA, "anna", AT)
    return devices.ensure_device(c, id=DeviceId(f"d-{name}"), user_id=user, name=name, at=AT)


def make_key(c: sa.Connection, device: DeviceRow, id: KeyId = OLD) -> None:
    keys.add_key(c, id=id, device_id=device.id, public_key=id.encode(), at=AT)


def use_key(c: sa.Connection, device: DeviceRow, key: KeyId) -> int:
    return open_session(c, device.id, key_id=key, boot_id=BOOT, platform="linux", at=AT + 5)


@pytest.fixture
def device(c: sa.Connection) -> DeviceRow:
    """A device with a key."""
    made = make_device(c)
    make_key(c, made)
    return made


def test_key_opens_a_session_of_the_device_and_records_last_use(c: sa.Connection, device: DeviceRow) -> None:
    live(c)
    assert (use_key(c, device, OLD), devices.get_device(c, device.id).connectivity) == (1, "online")
    assert keys.list_keys(c)[0].last_used_at == AT + 5


def test_key_revoked_after_lookup_opens_no_session(c: sa.Connection, device: DeviceRow) -> None:
    assert stored.revoke_key(c, OLD, at=AT)
    assert not stored.revoke_key(c, OLD, at=AT + 1)
    with pytest.raises(KeyRevoked):
        use_key(c, device, OLD)
    assert devices.get_device(c, device.id).session_epoch == 0


def test_rotated_key_of_a_device_opens_no_session(c: sa.Connection, device: DeviceRow) -> None:
    for _ in range(2):  # twice is once
        keys.rotate_key(c, device.id, old=OLD, new=NEW, public_key=b"new", at=AT)
    assert use_key(c, device, NEW) == 1
    with pytest.raises(KeyRevoked):
        use_key(c, device, OLD)
    assert some(keys.find_key(c, OLD)).rotated_to == NEW
    assert [row.event for row in audit.list_entries(c, limit=10)] == ["key.rotated"]


def test_second_key_rotation_of_a_device_within_the_wait_is_refused(c: sa.Connection) -> None:
    device, other = make_device(c), make_device(c, "laptop")
    make_key(c, device)
    make_key(c, device, KeyId("k-2"))
    make_key(c, other, KeyId("k-3"))

    def rotate(of: DeviceRow, old: str, new: str, at: int) -> None:
        key, old_key = KeyId(new), KeyId(old)
        keys.rotate_key(c, of.id, old=old_key, new=key, public_key=new.encode(), at=at, wait_ms=60_000)

    rotate(device, OLD, NEW, AT)
    rotate(device, OLD, NEW, AT + 1)  # twice is once
    for old in (NEW, "k-2"):
        with pytest.raises(RotatedTooSoon) as refusal:
            rotate(device, old, "k-9", AT + 15_000)
        assert refusal.value.retry_after_s == 45
    rotate(other, "k-3", "k-4", AT + 15_000)
    rotate(device, "k-2", "k-5", AT + 60_000)
    rotate(device, NEW, "k-6", AT - 60_000)  # the clock was set back


def test_key_rotation_by_another_device_or_of_a_revoked_key_is_refused(c: sa.Connection) -> None:
    desk, laptop = make_device(c), make_device(c, "laptop")
    make_key(c, desk)
    with pytest.raises(KeyRevoked):
        keys.rotate_key(c, laptop.id, old=OLD, new=NEW, public_key=b"new", at=AT)
    stored.revoke_key(c, OLD, at=AT)
    with pytest.raises(KeyRevoked):
        keys.rotate_key(c, desk.id, old=OLD, new=NEW, public_key=b"new", at=AT)
    assert keys.find_key(c, NEW) is None


def test_key_belongs_to_a_single_device_for_good(c: sa.Connection) -> None:
    make_key(c, make_device(c))
    with pytest.raises(sa.exc.IntegrityError) as refusal:
        make_key(c, make_device(c, "laptop"))
    assert type(translated(refusal.value)).__name__ == "Conflict"


def test_device_reporting_a_name_in_use_gets_a_free_name(c: sa.Connection) -> None:
    make_key(c, make_device(c))

    def give(fresh: str) -> DeviceRow:
        return tokens.give_free_device(c, fresh_id=DeviceId(fresh), user_id=ANNA, name="desk", at=AT)

    second = give("d-2")
    assert (second.id, second.name) == ("d-2", "desk-2")
    make_key(c, second, NEW)
    assert give("d-3").name == "desk-3"


def test_device_name_without_a_free_suffix_is_refused(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FREE_NAMES", 1)
    make_key(c, make_device(c))
    with pytest.raises(CodedError):
        tokens.give_free_device(c, fresh_id=DeviceId("d-2"), user_id=ANNA, name="desk", at=AT)


def test_recent_revocations_are_listed_with_their_credentials(c: sa.Connection) -> None:
    desk, laptop, phone = make_device(c), make_device(c, "laptop"), make_device(c, "phone")
    make_key(c, desk)
    make_key(c, phone, KeyId("earlier"))
    stored.revoke_key(c, KeyId("earlier"), at=AT - 1)
    stored.revoke_key(c, OLD, at=AT)
    devices.revoke_device(c, laptop.id, at=AT + 1, actor="operator:0")
    make_key(c, phone, NEW)
    keys.rotate_key(c, phone.id, old=NEW, new=KeyId("newer"), public_key=b"n", at=AT)
    assert set(devices.revoked_since(c, AT)) == {
        (desk.id, "key:old"),
        (laptop.id, None),
    }


def test_device_count_includes_connected_devices_and_devices_with_a_valid_credential(
    c: sa.Connection,
) -> None:
    def a_token(device: DeviceRow, *, ends: int | None, is_revoked: bool = False) -> None:
        id = TokenId(f"t-{device.id}")
        DEVICE_TOKENS.create(c, id=id, device_id=device.id, token_hash=id.encode(), at=AT, expires_at=ends)
        if is_revoked:
            DEVICE_TOKENS.revoke(c, id, at=AT, actor="operator:0")

    counted = []
    for name, is_counted in (
        ("named in hub.toml alone", False),
        ("with a key", True),
        ("with a revoked key", False),
        ("with a token", True),
        ("with a token until later", True),
        ("with a token that has ended", False),
        ("with a revoked token", False),
        ("revoked with its key", False),
    ):
        device = make_device(c, name)
        if "key" in name:
            make_key(c, device, KeyId(name))
        if name == "with a revoked key":
            assert stored.revoke_key(c, KeyId(name), at=AT)
        if "token" in name:
            ends = AT + 9 if "later" in name else AT + 5 if "ended" in name else None
            a_token(device, ends=ends, is_revoked="revoked token" in name)
        if name.startswith("revoked"):
            assert devices.revoke_device(c, device.id, at=AT, actor="operator:0")
        counted += [name] * is_counted
        assert devices.count_devices(c, at=AT + 5) == len(counted), name
    assert devices.count_devices(c, at=AT + 5, user_id=ANNA) == len(counted)
    assert devices.count_devices(c, at=AT + 5, user_id=UserId("otto")) == 0
    live(c)
    use_key(c, devices.get_device(c, DeviceId("d-with a key")), KeyId("with a key"))
    stored.revoke_key(c, KeyId("with a key"), at=AT)
    assert devices.count_devices(c, at=AT + 5) == len(counted), "still connected"
