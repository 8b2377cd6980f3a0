"""Comparison of a database's schema revision with this release. Nothing is changed."""

from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from storage.kernel.address import SERVER
from storage.kernel.database_file import file_of
from storage.kernel.migrate import current_revision, refusal, revisions


class Standing(NamedTuple):
    """Schema revision of a database compared with this release. Revisions have four digits.

    Attributes:
        current: revision of the existing tables; ``None`` without tables.
        missing: revisions of this release that the database lacks, oldest first.
    """

    current: str | None
    missing: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Revisions of this release, oldest first."""
        return tuple(revisions())

    @property
    def is_newer(self) -> bool:
        """True if a newer hub wrote the database; this hub cannot open it then."""
        return self.current is not None and self.current > revisions()[-1]

    @property
    def refusal(self) -> str | None:
        """Reason why this hub cannot open the database, or ``None`` if it can."""
        return None if self.current is None else refusal(self.current)


async def standing_of(url: str, *, base: Path | None = None) -> Standing:
    """Return the schema revision of the database at *url*; see ``open_store`` for the arguments.

    Raises:
        Busy, Unavailable: the database cannot be read.
    """
    if url.startswith(SERVER):
        from storage.kernel import postgres

        current = await postgres.current_revision(url)
    else:
        path = file_of(url, base)
        current = None if path is None else await anyio.to_thread.run_sync(current_revision, path)
    if current is not None and refusal(current) is not None:
        return Standing(current, ())
    return Standing(current, tuple(known for known in revisions() if current is None or known > current))
