"""Preview of shared folders: which files would be offered, and why others stay. Nothing is sent."""

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from hub.base.clock import Clock
from hub.device.run_reading import Contents
from hub.device.shared import (
    MAX_FILE_BYTES,
    LeftOut,
    Root,
    SharedFile,
    SharedFolders,
    UnreadableFile,
    declare,
)
from hub.text.files import OFFICE
from protocol.work import MANY, RunConfig

_MAX_COUNTED: Final = 100_000  # files below a folder that stays
_ANY_BYTES: Final = 1 << 40


class Stays(msgspec.Struct, frozen=True):
    """File or folder that would not be sent.

    Attributes:
        path: absolute path.
        detail: the rule, or the place of what was found.
        files: number of files in it.
    """

    path: str
    reason: str
    detail: str = ""
    files: int = 1


class Offered(msgspec.Struct):
    """Files that would be offered of a folder.

    Attributes:
        path: absolute path.
        files: their number.
        size: their sizes together, in bytes.
        kinds: number of files by the ending of their names.
    """

    path: str
    files: int = 0
    size: int = 0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)


class FolderPreview(msgspec.Struct):
    """Files that a device would offer, by the folders at the top of each root, and what stays.

    Attributes:
        unsearched: number of offered files whose text was not searched for keys and passwords.
    """

    offered: list[Offered]
    stays: list[Stays]
    unsearched: int = 0


def preview(
    folders: Sequence[Path],
    *,
    clock: Clock,
    seconds: float,
    max_file_bytes: int = MAX_FILE_BYTES,
    hidden: bool = False,
    ignore: Sequence[str] = (),
) -> FolderPreview:
    """Return the preview of shared folders. Blocks.

    Args:
        max_file_bytes, hidden, ignore: as of ``SharedFolders``.
        seconds: time for reading the files as a run does, for keys and passwords, and for what has no text.

    Raises:
        ValueError: a folder cannot be shared.
    """
    roots = [Root(path, path, spelling) for path, spelling in declare(folders)]
    home = os.path.expanduser("~")
    shared = SharedFolders(roots, home=home, max_file_bytes=max_file_bytes, hidden=hidden, ignore=ignore)
    places, _ = shared.places([])
    stays: list[Stays] = []

    def note(one: LeftOut) -> None:
        stays.append(Stays(one.path, one.reason, one.detail, _files_below(one.path)))

    files, skipped = shared.list_files(places, RunConfig(), None, _go_on, note=note)
    for left in skipped:
        if left.path != MANY:
            reason, _, detail = left.reason.partition(": ")
            stays.append(Stays(left.path, reason, detail, _files_below(left.path)))
    contents, until, unsearched = Contents(shared, clock), clock.monotonic() + seconds, 0
    offered: dict[str, Offered] = {root.path: Offered(root.path) for root in roots}
    for file in files:
        if clock.monotonic() >= until:
            unsearched += 1
        elif (found := _why_not_sent(contents, file)) is not None:
            stays.append(found)
            continue
        top = "/".join((file.root.path, *file.parts[:-1][:1]))
        folder = offered.setdefault(top, Offered(top))
        folder.files += 1
        folder.size += file.size_bytes
        folder.kinds[os.path.splitext(file.parts[-1])[1].lower()] += 1
    return FolderPreview([offered[path] for path in sorted(offered)], stays, unsearched)


def known_roots(file: Path) -> list[Path]:
    """Return the folders that a device has ever shared, by its file; none if it cannot be read."""
    return [Path(path) for path in _texts(file, "SELECT path FROM roots ORDER BY rowid")]


def last_addresses(file: Path) -> list[str]:
    """Return the addresses at which a device last met each of its hubs."""
    return _texts(file, "SELECT url FROM hub_addresses WHERE is_last ORDER BY url")


def _texts(file: Path, select: str) -> list[str]:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return [text for (text,) in db.execute(select)]
    except sqlite3.Error:
        return []


def _go_on() -> None:
    pass


def _why_not_sent(contents: Contents, file: SharedFile) -> Stays | None:
    try:
        contents.text(file, _go_on, piece_bytes=_ANY_BYTES, escaped_bytes=_ANY_BYTES, hub_reads=OFFICE)
    except UnreadableFile as error:
        reason, _, detail = str(error).partition(": ")
        return Stays("/".join((file.folder, file.parts[-1])), reason, detail)
    return None


def _files_below(path: str) -> int:
    if not os.path.isdir(path) or os.path.islink(path):
        return 1
    count = 0
    for _, _, names in os.walk(path):
        count += len(names)
        if count >= _MAX_COUNTED:
            break
    return count
