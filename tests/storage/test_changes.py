"""Changes of what people look at, committed on both kinds of database."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from protocol.ids import UserId
from storage import changes
from storage.change_triggers import FOLLOWED, drop_triggers
from storage.changes import ChangeBatch, SubjectChange, changes_after, newest, prune
from storage.kernel.migrate import upgrade
from storage.kernel.sqlite import set_clock
from storage.kernel.verify import differences_in
from storage.schema import agents, items
from tests.storage.rows import AT, make_agent, running
from tests.storage.test_items import as_new, bring, item, plan
from tests.support.blocking import blocking_engine
from tests.support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        upgrade(tmp_path / "hub.db")
        engine = sa.create_engine(f"sqlite:///{tmp_path}/hub.db", poolclass=sa.NullPool)
        sa.event.listen(engine, "connect", lambda driver, _: set_clock(driver))
        yield engine
        engine.dispose()
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        engine = blocking_engine(url, postgres.portal)
        yield engine
        engine.dispose()


def after(engine: sa.Engine, number: int, **asked: object) -> ChangeBatch:
    with engine.begin() as c:
        return changes_after(c, number, **asked)  # type: ignore[arg-type]


def kinds(found: ChangeBatch) -> Counter[str]:
    return Counter(each.kind for each in found.changes)


def test_changed_subject_is_read_once_for_any_number_of_changes(engine: sa.Engine) -> None:
    with engine.begin() as c:
        held = running(c)
    with engine.begin() as c:
        bring(c, held, plan(c, held, as_new(item())))
    found = after(engine, 0)
    assert kinds(found) == {"agent": 1, "device": 1, "run": 1, "item": 1}
    assert after(engine, found.upto).changes == ()
    with engine.begin() as c:
        c.execute(sa.update(items).values(verdict="approved", verdict_at=AT))
    assert kinds(after(engine, found.upto)) == {"item": 1}


def test_deleted_subject_is_read_as_a_change(engine: sa.Engine) -> None:
    with engine.begin() as c:
        bring(c, held := running(c), plan(c, held, as_new(item())))
    before = after(engine, 0)
    with engine.begin() as c:
        c.execute(sa.delete(items))
    assert kinds(after(engine, before.upto)) == {"item": 1}


def test_rolled_back_change_is_not_read(engine: sa.Engine) -> None:
    with engine.connect() as c:
        make_agent(c)
        c.rollback()
    assert after(engine, 0).changes == ()


def test_user_reads_only_changes_of_own_subjects(engine: sa.Engine) -> None:
    with engine.begin() as c:
        agent = make_agent(c)
    assert kinds(after(engine, 0, user_id=agent.user_id))["agent"] == 1
    assert after(engine, 0, user_id=UserId("another")).changes == ()


def test_changes_are_read_in_parts_without_splitting_a_number(engine: sa.Engine) -> None:
    for number in range(5):
        with engine.begin() as c:
            make_agent(c, f"agent-{number}")
            make_agent(c, f"other-{number}")
    whole = after(engine, 0)
    found: dict[tuple[str, str], SubjectChange] = {}
    number = parts = 0
    while (part := after(engine, number, limit=3)).changes:
        assert part.has_more or part.upto == whole.upto
        found |= {(each.kind, each.subject): each for each in part.changes}
        number, parts = part.upto, parts + 1
    assert {*found.values()} == {*whole.changes}
    assert parts > 1


def test_changes_of_an_open_transaction_are_read_after_the_commit(postgres: Postgres) -> None:
    with postgres.database() as url:
        engine = blocking_engine(url, postgres.portal)
        with engine.begin() as c:
            slow, quick = (make_agent(c, name).id for name in ("slow", "quick"))
        start = after(engine, 0).upto
        with engine.connect() as unfinished:
            unfinished.execute(sa.update(agents).where(agents.c.id == slow).values(description="1"))
            with engine.begin() as c:
                c.execute(sa.update(agents).where(agents.c.id == quick).values(description="2"))
            between = after(engine, start)
            assert between.changes == ()
            unfinished.commit()
        assert {each.subject for each in after(engine, between.upto).changes} == {slow, quick}
        engine.dispose()


def test_reader_of_pruned_changes_is_notified_of_a_gap(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGES", 3)
    for number in range(5):
        with engine.begin() as c:
            make_agent(c, f"agent-{number}")
    reader = after(engine, 0, limit=2)
    with engine.begin() as c:
        while prune(c):
            pass
    assert not after(engine, reader.upto).is_gapless
    with engine.begin() as c:
        assert newest(c) >= reader.upto
        assert changes_after(c, newest(c)).is_gapless


def test_database_without_change_triggers_is_reported_as_different(engine: sa.Engine) -> None:
    with engine.begin() as c:
        assert differences_in(c) == ()
        drop_triggers(c)
        assert {each.part.table for each in differences_in(c)} == {each.table for each in FOLLOWED}
        c.rollback()


def test_the_owner_of_each_followed_row_is_found(engine: sa.Engine) -> None:
    with engine.begin() as c:
        for each in FOLLOWED:
            owner = each.owner.format(row=each.table)
            c.exec_driver_sql(f"SELECT {each.subject}, {owner} FROM {each.table}")
        assert c.execute(sa.select(agents)).all() == []
