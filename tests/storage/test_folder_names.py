"""Databases in folders whose names have characters with a meaning in addresses."""

import string
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import sqlalchemy as sa

from storage import audit
from storage.audit import AuditEntry
from storage.kernel import backup
from storage.kernel.migrate import upgrade
from storage.kernel.verify import hub_id_of, schema_version_of
from storage.store import open_store
from tests.support.clock import SeededChance

SIGNS = string.punctuation.replace("/", "") + " äüß€漢" + string.ascii_letters
DRAWN = SeededChance(67)  # the same names each time
FILES = ("hub.db", "hub.db.lock", "hub_id", "a?b.backup")
NAMES = (
    *("q?mark", "p%20x", "%", "a b", "a&b", "a;b", "ü", "h#x", "a=b?mode=ro", ":memory:", "@host", "a+b"),
    *("".join(SIGNS[sign % len(SIGNS)] for sign in DRAWN.token_bytes(length)) for length in range(2, 18)),
)
SIGNS_AT_ONCE = ":memory:?%20&a b;#=漢"


@pytest.mark.parametrize(
    "name",
    [
        SIGNS_AT_ONCE,
        NAMES[0],
        NAMES[-1],
        *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:-1]),
    ],
)
async def test_every_use_of_a_file_stays_in_the_folder_under_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database, copy = folder / "hub.db", folder / "a?b.backup"
    await anyio.to_thread.run_sync(upgrade, database)
    async with open_store("sqlite:///hub.db", base=folder) as store:
        assert await store.read(_one) == 1
    assert not (await schema_version_of("sqlite:///hub.db", base=folder)).missing
    assert await hub_id_of(f"sqlite:///{database}", base=tmp_path) is None
    made = partial(backup.make, copy, database=database, others={}, at=1, version="1")
    await anyio.to_thread.run_sync(made)
    await anyio.to_thread.run_sync(
        audit.append_in_file, database, AuditEntry(at=1, actor="a", event="backup.made")
    )
    restored = partial(backup.restore, copy, folder, database=database, at=2)
    await anyio.to_thread.run_sync(restored)
    assert sorted(_modes(tmp_path)) == sorted(f"{name}/{file}" for file in FILES)
    assert set(_modes(tmp_path).values()) == {0o600}


def _modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file below *folder*, but of those that a restore has set aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and "before-restore" not in str(path)]
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in files}


def _one(c: sa.Connection) -> Any:
    return c.execute(sa.select(sa.literal(1))).scalar_one()
