"""Rows of a user in every table: found for an export, deleted for an erasure; those of others stay."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError
from protocol.ids import UserId
from storage import audit
from storage.agents import declared_agents
from storage.agents.agents import find_agent_by_name
from storage.agents.declared_agents import DeclaredAgent
from storage.audit import AuditEntry
from storage.devices import idempotency
from storage.devices import users as stored_users
from storage.effects import user_data
from storage.schema import (
    agent_locks,
    agents,
    audit_log,
    budget_holds,
    changes,
    hub,
    idempotency_keys,
    metadata,
    settings_revisions,
    users,
)
from storage.schema import devices as device_rows
from tests.storage.rows import AT, ME, make_run, seeded
from tests.support.filling import fill

ANNA, BOB = UserId("019a0000-0000-7000-8000-00000000000a"), UserId("019a0000-0000-7000-8000-00000000000b")
OF_EVERYBODY = {hub, changes, audit_log}


def dump(c: sa.Connection) -> dict[str, list[Any]]:
    return {
        table.name: sorted(map(repr, c.execute(sa.select(table)).all())) for table in metadata.sorted_tables
    }


def erase(c: sa.Connection, user_id: UserId) -> int:
    """Erase a user, as the service does."""
    signs = user_data.signs_of(c, user_id)
    for table in user_data.MENTIONING:
        place = None
        while True:
            found, place = user_data.find_mentions(c, table, signs, place, rows=3)
            user_data.erase_mentions(c, table, found, signs, at=AT)
            if place is None:
                break
    deleted = 0
    while went := sum(_delete(c, table, user_id) for table in user_data.ORDER):
        deleted += went
    return deleted


def _delete(c: sa.Connection, table: sa.Table, user_id: UserId) -> int:
    batch, place = user_data.find_rows(c, table, user_id)
    assert place is None
    return sum(user_data.delete_rows(c, part) for part in batch.parts)


def breaks(c: sa.Connection) -> list[str]:
    part = audit.check_part(c)
    assert part.is_last
    return [one.what for one in part.breaks]


def make_world(c: sa.Connection, user_id: UserId, name: str) -> str:
    """A user with an agent of the API, a device, a run and audit entries. Returns the id of the agent."""
    stored_users.create_user(c, id=user_id, name=name, at=AT, actor="operator:1000")
    declared = DeclaredAgent(name=f"{name}-mail", device_name=f"{name}-desk", user_name=name, paths=("a",))
    fresh = [f"{kind}-{user_id}" for kind in ("agent", "device", "schedule", "user")]
    declared_agents.reconcile_declared(c, user_id=ME, declared=[declared], at=AT, fresh_ids=fresh)
    c.execute(sa.update(agents).values(source="api"))
    agent = find_agent_by_name(c, f"{name}-mail", user_id=user_id)
    assert agent is not None
    make_run(c, f"run-{user_id}", agent=agent)
    details: list[tuple[str, str | None, dict[str, str]]] = [
        ("agent.paused", agent.id, {}),
        ("board.created", None, {"board_id": f"{name} at home"}),
        ("user.exported", None, {"name": name}),
        ("run.cancelled", f"run-{user_id}", {"reason": f'because\n"{name}" asked'}),
    ]
    for event, subject, detail in details:
        audit.append_entry(
            c, AuditEntry(at=AT, actor="operator:1000", event=event, subject=subject, detail=detail)
        )
    device_id = f"device-{user_id}"
    audit.append_entry(c, AuditEntry(at=AT, actor=f"device:{device_id}", event="item.judged"))
    response = {"status": 201, "body": {"id": f"agent-{user_id}"}}
    idempotency.keep_answer(
        c, "operator:1000 POST", f"key-{name}", request_hash="h", response=response, at=AT
    )
    return str(agent.id)


@pytest.fixture
def both(c: sa.Connection) -> tuple[str, str]:
    return seeded(c, make_worlds)


def make_worlds(c: sa.Connection) -> tuple[str, str]:
    stored_users.ensure_user(c, ME, "owner", AT)
    audit.begin_chain(c, at=AT, subject="hub")
    return make_world(c, BOB, "bob"), make_world(c, ANNA, "anna")


def test_every_table_of_the_schema_is_of_users_or_of_the_hub() -> None:
    assert {*user_data.OWNED} | user_data.NOT_OWNED == {*metadata.sorted_tables}
    assert not {*user_data.OWNED} & user_data.NOT_OWNED
    with pytest.raises(TypeError, match="whose are the rows of letters"):
        user_data._owner(sa.Table("letters", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True)))


def test_rows_of_each_table_of_the_only_user_are_read_and_none_is_left(c: sa.Connection) -> None:
    fill(c, {table.name: 4 for table in metadata.sorted_tables} | {"users": 1, "audit_log": 0})
    c.execute(sa.update(budget_holds).values(account="id-000000"))
    c.execute(sa.update(metadata.tables["pairings"]).values(device_id="id-000000"))
    for table in (one for one in user_data.OWNED if "user_id" in one.c and one is not agent_locks):
        c.execute(sa.update(table).values(user_id="id-000000"))
    filled = {table.name for table in user_data.OWNED if c.execute(sa.select(table)).first() is not None}
    assert filled == {table.name for table in user_data.OWNED}
    tables, place = set[str](), None
    while True:
        page = user_data.read_rows(c, "name-000000", limit=3, after=place)
        tables |= {name for name, _ in page.rows}
        assert not any({*row} & user_data.SECRET for _, row in page.rows)
        if (place := page.rest) is None:
            break
    assert tables | {"changes"} == filled
    erase(c, UserId("id-000000"))
    left = {table.name for table in metadata.sorted_tables if c.execute(sa.select(table)).first()}
    assert left <= {table.name for table in user_data.NOT_OWNED} | {"changes"}
    assert c.execute(sa.select(changes).where(changes.c.user_id.is_not(None))).all() == []


def test_erasure_leaves_rows_of_other_users_unchanged(c: sa.Connection, both: tuple[str, str]) -> None:
    def of_bob() -> dict[str, list[Any]]:
        with c.begin_nested() as savepoint:
            kept = {
                table.name: sorted(
                    map(repr, c.execute(sa.select(table).where(condition), {"user": BOB}).all())
                )
                for table, condition in user_data.OWNED.items()
            }
            savepoint.rollback()
        entries = sa.select(audit_log).where(audit_log.c.seq <= last_of_bob)
        return kept | {"audit_log": list(map(repr, c.execute(entries).all()))}

    last_of_bob = c.execute(
        sa.select(sa.func.max(audit_log.c.seq)).where(audit_log.c.actor == f"device:device-{BOB}")
    ).scalar_one()
    before = of_bob()
    assert sum(map(len, before.values())) > 20
    erase(c, ANNA)
    assert of_bob() == before
    keys = c.execute(sa.select(idempotency_keys.c.key)).scalars().all()
    assert keys == ["key-bob"]


def test_erasure_leaves_no_row_of_the_user_and_a_valid_audit_chain(
    c: sa.Connection, both: tuple[str, str]
) -> None:
    c.execute(
        sa.insert(settings_revisions),
        [
            {"number": 1, "text": '[[agents]]\nname = "x"\nuser = "anna"', "actor": "hub", "at": AT},
            {"number": 2, "text": "", "actor": "hub", "at": AT},
        ],
    )
    erase(c, ANNA)
    everything = "\n".join(line for lines in dump(c).values() for line in lines)
    assert "anna" not in everything
    assert ANNA not in "\n".join(
        line for name, lines in dump(c).items() if name != "changes" for line in lines
    )
    assert breaks(c) == []
    erased = c.execute(sa.select(audit_log).where(audit_log.c.actor == audit.ERASED)).all()
    assert len(erased) >= 6 and {(one.subject, one.detail) for one in erased} == {(None, "{}")}
    assert sorted(c.execute(sa.select(users.c.name)).scalars()) == ["bob", "owner"]
    # a change of what is left, or of an entry that was not erased, is found
    c.execute(sa.update(audit_log).where(audit_log.c.seq == erased[0].seq).values(event="other"))
    assert len(breaks(c)) == 1


def test_user_export_contains_audit_entries_about_the_user(c: sa.Connection, both: tuple[str, str]) -> None:
    found, place = list[dict[str, Any]](), None
    while True:
        page = user_data.read_rows(c, "anna", limit=2, after=place)
        found += [row for table, row in page.rows if table == "audit_log"]
        if (place := page.rest) is None:
            break
    assert [row["event"] for row in found][-5:] == [
        *("agent.paused", "board.created", "user.exported", "run.cancelled", "item.judged")
    ]
    assert "bob" not in repr(found)


def test_audit_entry_emptied_without_an_erasure_record_is_detected(
    c: sa.Connection, both: tuple[str, str]
) -> None:
    c.execute(
        sa.update(audit_log).where(audit_log.c.seq == 2).values(actor=audit.ERASED, subject=None, detail="{}")
    )
    assert breaks(c) == ["entry 2 was edited: its hash does not fit what it says"]


def test_erasure_leaves_audit_entries_with_a_name_shared_by_two_users(
    c: sa.Connection, both: tuple[str, str]
) -> None:
    c.execute(sa.update(agents).values(name="mail"))
    c.execute(sa.update(users).where(users.c.id == ANNA).values(name="operator"))  # nor are words of the hub
    audit.append_entry(
        c, AuditEntry(at=AT, actor="operator:1000", event="agent.removed", detail={"name": "mail"})
    )
    erase(c, ANNA)
    (kept,) = audit.list_entries(c, event="agent.removed")
    assert kept.detail == '{"name":"mail"}'


def test_erasure_is_refused_while_others_use_things_of_the_user(
    c: sa.Connection, both: tuple[str, str]
) -> None:
    of_bob, of_anna = both
    c.execute(sa.update(agents).where(agents.c.id == of_bob).values(device_id=f"device-{ANNA}"))
    with pytest.raises(CodedError, match="others use things of 'anna': agent 'bob-mail' of 'bob'"):
        user_data.begin_erasing(c, "anna", at=AT, actor="operator:1000")
    c.execute(sa.update(agents).where(agents.c.id == of_bob).values(device_id=None))
    c.execute(sa.update(agents).where(agents.c.id == of_anna).values(source="file"))
    with pytest.raises(CodedError, match=r"hub\.toml declares for 'anna': agent 'anna-mail'") as refused:
        user_data.begin_erasing(c, "anna", at=AT, actor="operator:1000")
    assert "hub reload" in str(refused.value.hint)
    with pytest.raises(CodedError, match="is made at each start"):
        user_data.begin_erasing(c, "owner", at=AT, actor="operator:1000")
    with pytest.raises(CodedError, match="there is no user 'carl'"):
        user_data.begin_erasing(c, "carl", at=AT, actor="operator:1000")
    assert user_data.recorded_erasures(c) == set()


def test_credentials_are_revoked_when_an_erasure_begins(c: sa.Connection, both: tuple[str, str]) -> None:
    assert user_data.begin_erasing(c, "anna", at=AT + 5, actor="operator:1000").id == ANNA
    rows = c.execute(sa.select(device_rows.c.user_id, device_rows.c.revoked_at)).all()
    assert {row.user_id: row.revoked_at for row in rows} == {ANNA: AT + 5, BOB: None}
    assert user_data.recorded_erasures(c) == {ANNA}
    assert user_data.present_users(c, [ANNA, UserId("gone")]) == [ANNA]
    (entry,) = audit.list_entries(c, event=audit.USER_ERASED)
    assert (entry.actor, entry.subject, entry.detail) == ("operator:1000", ANNA, "{}")
    is_active, live = user_data.stop_work(c, ANNA, at=AT)
    assert (is_active, live) == (True, [f"run-{ANNA}"])
    assert user_data.stop_work(c, ANNA, at=AT)[0] is False
