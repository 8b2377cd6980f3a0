"""How far a database's tables are."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from storage.kernel.migrate import revisions
from storage.kernel.verify import schema_version_of
from storage.store import open_store
from tests.support.postgres import Postgres

URL = "sqlite:///hub.db"


async def test_a_database_that_is_not_there_lacks_everything_and_is_not_made(tmp_path: Path) -> None:
    standing = await schema_version_of(URL, base=tmp_path)
    assert (standing.current, standing.missing) == (None, tuple(revisions()))
    assert os.listdir(tmp_path) == []


async def test_a_database_of_this_release_lacks_nothing_while_a_hub_has_it_open(tmp_path: Path) -> None:
    async with open_store(URL, base=tmp_path):
        standing = await schema_version_of(URL, base=tmp_path)
    assert (standing.current, standing.missing, standing.is_newer) == (revisions()[-1], (), False)


async def test_a_database_of_a_newer_hub_is_reported_as_newer(tmp_path: Path) -> None:
    async with open_store(URL, base=tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "hub.db")) as opened:
        opened.execute("UPDATE alembic_version SET version_num = '9999'")
        opened.commit()
    assert (await schema_version_of(URL, base=tmp_path)).is_newer


async def test_a_server_is_looked_at_too(postgres: Postgres) -> None:
    with postgres.bare_database() as url:
        assert (await schema_version_of(url)).missing == tuple(revisions())
        async with open_store(url):
            pass
        assert (await schema_version_of(url)).missing == ()
