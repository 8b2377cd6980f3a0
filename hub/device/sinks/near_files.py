"""Files near a sink's file (archives, other lists, other days) that are searched for moved rows.

They have its ending, as ``done.txt`` next to ``todo.txt``, or that of an archive of Org, as in
``todo.org_archive``. They are in its folder, in a folder below, or in the same vault of Obsidian.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from hub.base.system.folders import enter, is_hidden, without_links

MAX_NAMES: Final = 20_000  # that are listed
MAX_FILES: Final = 1_000
MAX_DEPTH: Final = 32  # of folders: each is entered from the top
MAX_BYTES: Final = 64 * 1024 * 1024  # of all files
_VAULT: Final = ".obsidian"  # folder at the top of a vault


def files_near(folder: Path, ending: str) -> list[str]:
    """Return the files of an ending in a folder and near it, the latest changed first, within the limits.

    No link is followed; hidden files and folders, and what cannot be read, are left out.
    """
    endings = {ending.lower(), f"{ending.lower()}_archive"}
    paths: list[str] = []
    left = MAX_BYTES
    for _, size, path in sorted(_files_below(folder, endings), reverse=True)[:MAX_FILES]:
        if size <= left:  # a larger one hides none of those behind it
            paths.append(path)
            left -= size
    return paths


def _files_below(top: Path, endings: set[str]) -> Iterator[tuple[int, int, str]]:
    """Yield time (ns), size (bytes) and path of the files in a folder, in those below and in its vault."""
    vaults = [parent for parent in top.parents if os.path.isdir(parent / _VAULT)]
    folders, left = [top, *vaults[:1]], MAX_NAMES
    deepest = len(folders[-1].parts) + MAX_DEPTH
    for folder in folders:  # which grows
        with suppress(OSError), enter(without_links(str(folder))) as opened:
            names = opened.names()[:left]
            left -= len(names)
            for name in names:
                path = folder / name
                with suppress(FileNotFoundError):  # another program removed it just now
                    info = opened.stat(name)
                    if name.startswith(".") or is_hidden(info) or path == top:
                        continue
                    if stat.S_ISDIR(info.st_mode):  # a junction of Windows is refused when it is entered
                        folders += [path] if len(path.parts) <= deepest else []
                    elif stat.S_ISREG(info.st_mode) and path.suffix.lower() in endings:
                        yield info.st_mtime_ns, info.st_size, str(path)
