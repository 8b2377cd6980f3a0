"""How far a database's tables are, beside those of this release. Looking changes nothing."""

from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from storage.kernel.address import SERVER
from storage.kernel.database_file import file_of
from storage.kernel.migrate import current_revision, revisions


class Standing(NamedTuple):
    """Revisions: four digits each.

    Attributes:
        current: of the tables that are there; ``None``: there are none yet.
        missing: those of this release that it has not, oldest first.
    """

    current: str | None
    missing: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """The revisions of this release, oldest first."""
        return tuple(revisions())

    @property
    def is_newer(self) -> bool:
        """Whether a newer hub wrote it; then nothing is missing, and this hub cannot open it."""
        return self.current is not None and self.current not in revisions()


async def standing_of(url: str, *, base: Path | None = None) -> Standing:
    """The standing of the database at *url*; see ``open_store`` for the arguments.

    Raises:
        Busy, Unavailable: it cannot be read.
    """
    if url.startswith(SERVER):
        from storage.kernel import postgres

        current = await postgres.current_revision(url)
    else:
        path = file_of(url, base)
        current = None if path is None else await anyio.to_thread.run_sync(current_revision, path)
    known = revisions()
    if current is not None and current not in known:
        return Standing(current, ())
    return Standing(current, tuple(known if current is None else known[known.index(current) + 1 :]))
