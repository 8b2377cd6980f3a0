"""The audit log, as an operator asks for it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from hub.api.views.audit import AuditCheckView, AuditEntryView


class AuditFacade(Protocol):
    """Who changed what, and who was refused."""

    async def note(self, event: str, *, actor: str) -> None:
        """Tell of something that was done and changed nothing; a database in trouble does not hold it up."""
        ...

    async def entries(
        self,
        *,
        limit: int,
        after: int | None,
        oldest_first: bool = False,
        event: str | None = None,
        actor: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Sequence[AuditEntryView]:
        """At most *limit* entries, the newest first unless *oldest_first*, beyond the one numbered *after*.

        Args:
            event: of this name, or of every name that begins so, where it ends in a dot.
            since, until: the first is included, the second is not.
        """
        ...

    async def check(self, *, known_seq: int | None = None, known_hash: str | None = None) -> AuditCheckView:
        """Check the whole chain.

        Args:
            known_seq, known_hash: an entry whose hash was kept elsewhere, to be found there again.
        """
        ...
