"""Replacement of a file in one step."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hub.system.files import replace, sync_folder


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Replace *path* by a file with *data*; see ``replaced``."""
    with replaced(path, mode=mode) as file:
        file.write(data)


@contextmanager
def replaced(path: Path, *, mode: int) -> Iterator[BinaryIO]:
    """Yield a new file that replaces *path* after the block, synced to disk.

    If *path* is a symbolic link, its target is replaced.

    Args:
        mode: mode of the new file, where the system has modes.

    Raises:
        OSError: the old file is unchanged, and no temporary file is left, as after an error in the block.
    """
    target = path.resolve()
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(fd, "wb") as file:
            os.chmod(name, mode)
            yield file
            file.flush()
            os.fsync(fd)
        replace(Path(name), target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(target.parent)
