"""Replacement of a file's content in one step, so that a crash leaves the old or the new content."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hub.base.system.folders import enter, without_links


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Replace *path* by a file with *data*; see ``replaced``."""
    with replaced(path, mode=mode) as file:
        file.write(data)


@contextmanager
def replaced(path: Path, *, mode: int) -> Iterator[BinaryIO]:
    """Yield a new file that replaces *path* after the block, synced to disk.

    Folders of the path may be links, but the file is never written through one.

    Args:
        mode: mode of the new file, where the system has modes.

    Raises:
        OSError: *path* is a symbolic link, or the system refuses. The old file is unchanged, and no temporary
            file is left, as after an error in the block.
    """
    target = Path(without_links(str(path.parent.resolve() / path.name)))
    with enter(str(target.parent), lists=False) as folder, folder.replacing(target.name, mode=mode) as file:
        yield file
