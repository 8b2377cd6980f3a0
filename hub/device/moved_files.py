"""Files that were moved or renamed after items were found in them: how the new path is found.

The identity of a file is noted when an item of it is inserted, and when this device replaces it: size,
modification time and inode, which a move keeps. A changed file with that inode is the same one if it has kept
its folder or name, and a quote. The content is known from the digests (``hub.device.shared``), once an agent
has listed the new place. A file in which items were found, too, is no moved one. Functions block.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from hub.device.digests import stamp_of
from hub.device.exclusion import why_private

CREATE: Final = (
    """
CREATE TABLE IF NOT EXISTS source_files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS calls_source ON calls (source_path)",
    "CREATE INDEX IF NOT EXISTS digests_content ON digests (sha256)",
)
MAX_WALKED: Final = 50_000  # files that are compared; a third of a second
MAX_FOLDERS: Final = 10_000  # that are walked
MAX_NAMED: Final = 5  # candidates
_IDENTITIES: Final = """
SELECT size, modified_ns, inode FROM source_files WHERE path = :path
UNION SELECT size, modified_ns, inode FROM digests WHERE folder = :folder AND name = :name
"""
_CONTENTS: Final = """
SELECT source_sha256, quote FROM calls WHERE source_path = :path
UNION SELECT hex(sha256), NULL FROM digests WHERE folder = :folder AND name = :name
"""
_SAME_CONTENT: Final = """
SELECT size, modified_ns, inode FROM digests
WHERE sha256 = ? AND inode NOT IN (SELECT inode FROM source_files WHERE path != ?)
"""
_SEEN: Final = f"""
SELECT folder, name, inode FROM digests WHERE folder = ? OR (folder > ? AND folder < ?) LIMIT {MAX_WALKED}
"""
Identity = tuple[int, int, int]  # size, modification time in nanoseconds, inode


def leads_out(below: str) -> bool:
    """Return True if a hub's path below a shared folder leads out of the folder, or cannot be a path."""
    return not below or "\0" in below or bool(Path(below).anchor) or ".." in Path(below).parts


def note_source(db: sqlite3.Connection, path: str) -> None:
    """Note the identity of the file at a source path, if it is one of a shared folder."""
    name, _, below = path.partition("/")
    if leads_out(below):
        return  # a hub's attempt to probe other paths
    for (root,) in db.execute("SELECT path FROM roots WHERE name = ?", (name,)).fetchall():
        if (identity := _identity_at(os.path.join(root, below))) is not None:
            db.execute("INSERT OR REPLACE INTO source_files VALUES (?, ?, ?, ?)", (path, *identity))


def note_replaced(db: sqlite3.Connection, file: str, *paths: str) -> None:
    """Note the identity of a file that this device has replaced, for *paths* and for its own source path."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'source_files'").fetchone():
        return  # a file of an older version
    own = {
        Path(name, os.path.relpath(file, root)).as_posix()
        for name, root in db.execute("SELECT name, path FROM roots")
        if file.startswith(os.path.join(root, ""))
    }
    known = "SELECT 1 FROM calls WHERE source_path = ?"
    sources = {*paths, *(path for path in own if db.execute(known, (path,)).fetchone())}
    if sources and (identity := _identity_at(file)) is not None:
        rows = [(path, *identity) for path in sources]
        db.executemany("INSERT OR REPLACE INTO source_files VALUES (?, ?, ?, ?)", rows)


def is_renamed(db: sqlite3.Connection, before: Path, after: Path) -> bool:
    """Return True if a folder beside a missing one has most files that were last seen there, by inode."""
    folder, same = before.as_posix(), 0
    is_read = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'digests'").fetchone()
    seen = db.execute(_SEEN, (folder, f"{folder}/", f"{folder}0")).fetchall() if is_read else []
    for at, name, inode in seen if before.parent == after.parent else ():
        found = _identity_at(os.path.join(after, os.path.relpath(at, before), name))
        same += found is not None and found[2] == inode
    return same * 2 > len(seen)


class MovedFiles:
    """Finder of moved files in the shared folders.

    Args:
        roots: folders by their names on the wire.
        text_of: returns the text of a plain-text file.
    """

    def __init__(
        self, db: sqlite3.Connection, roots: Mapping[str, Path], text_of: Callable[[Path], str | None]
    ) -> None:
        self._db = db
        self._roots = roots
        self._text_of = text_of
        self.find = lru_cache(maxsize=None)(self._find)

    def _find(self, path: str) -> tuple[str, ...]:
        """Return the names on the wire of the files that a missing file may be: one if it is certain."""
        if not self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'source_files'").fetchone():
            return ()  # a file of an older version
        file = self._file(path)
        sought = {"path": path, "folder": file.parent.as_posix(), "name": file.name}
        contents = self._db.execute(_CONTENTS, sought).fetchall()
        quotes = [quote for _, quote in contents if quote]
        listed, by_inode = self._walked
        known = {(size, at, inode) for size, at, inode in self._db.execute(_IDENTITIES, sought)}
        moved = {other for _, _, inode in known for other in by_inode.get(inode, ())}
        found = {
            candidate
            for candidate in moved
            if listed[candidate] in known or self._is_changed(path, candidate, quotes)
        }
        if len(found) != 1:
            digests = {(bytes.fromhex(sha256), path) for sha256, _ in contents if sha256}
            same = {
                (size, at, inode)
                for digest in digests
                for size, at, inode in self._db.execute(_SAME_CONTENT, digest)
            }
            found |= {
                candidate
                for _, _, inode in same
                for candidate in by_inode.get(inode, ())
                if listed[candidate] in same
            }
        return tuple(sorted(found)[:MAX_NAMED])

    def _is_changed(self, path: str, other: str, quotes: list[str]) -> bool:
        """Return True if a file with the same inode, which may be given again, is a changed one."""
        was, now = self._file(path), self._file(other)
        is_near = was.parent == now.parent or was.name == now.name
        text = self._text_of(now) if is_near else None
        return text is not None and any(quote in text for quote in quotes)

    def _file(self, path: str) -> Path:
        name, _, below = path.partition("/")
        return self._roots[name] / below

    @cached_property
    def _walked(self) -> tuple[Mapping[str, Identity], Mapping[int, list[str]]]:
        """Identities of the files that hubs may get, by their names on the wire, and these names by inode."""
        listed: dict[str, Identity] = {}
        by_inode: dict[int, list[str]] = {}
        roots = {str(place): name for name, place in self._roots.items()}
        left = MAX_FOLDERS
        for top in roots:
            for folder, folders, names in os.walk(top):
                if (left := left - 1) < 0:
                    break
                offered = [name for name in folders if why_private(name) is None]
                folders[:] = [name for name in offered if os.path.join(folder, name) not in roots]
                above = Path(roots[top], os.path.relpath(folder, top)).as_posix()
                for name in names[: MAX_WALKED - len(listed)]:
                    identity = _identity_at(os.path.join(folder, name))
                    if identity is not None and why_private(name) is None:
                        listed[f"{above}/{name}"] = identity
                        by_inode.setdefault(identity[2], []).append(f"{above}/{name}")
        return listed, by_inode


def _identity_at(file: str) -> Identity | None:
    """Return the identity of a regular file, which is no link."""
    try:
        info = os.stat(file, follow_symlinks=False)
    except (OSError, ValueError):
        return None
    stamp = stamp_of(info)
    return (stamp.size, stamp.modified_ns, stamp.inode) if stat.S_ISREG(info.st_mode) else None
