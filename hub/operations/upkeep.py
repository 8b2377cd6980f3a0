"""What is done to the hub as a whole: it is stopped, it is backed up."""

from collections.abc import Callable

from hub.api.views.upkeep import BackupView, DrainView
from hub.backups import Backups
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.drain import Drain
from hub.log import Channel
from protocol.errors import HubError
from storage.audit import audit
from storage.store import Store

log = Channel(__name__)


class UpkeepOperations:
    """Implements ``api.facades.UpkeepFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        executing: Callable[[], int],
        drain: Drain,
        backups: Backups,
        clock: Clock,
    ) -> None:
        """*executing*: how many runs are under way."""
        self._store = store
        self._executing = executing
        self._drain = drain
        self._backups = backups
        self._clock = clock

    async def drain(self, *, restarts: bool | None, actor: str) -> DrainView:
        """Stop in good order; asked for a second time, nothing changes."""
        executing = self._executing()
        if not self._drain.is_begun:
            entry = audit.Entry(
                at=epoch_ms(self._clock.now()),
                actor=actor,
                event="hub.drained",
                detail={"executing": executing},
            )
            try:
                await self._store.write(audit.append_entry, entry)
            except HubError as exc:  # a hub whose database is broken can be stopped all the same
                log.error("drain.not_noted", exc=exc)
            log.info("hub.stopping", actor=actor)
            self._drain.begin(restarts=restarts)
        return DrainView(restarts=self._drain.restarts, executing=executing)

    async def back_up(self, *, actor: str) -> BackupView:
        """A backup in the hub's own folder."""
        made = await self._backups.make(actor=actor)
        return BackupView(
            path=str(made.path),
            made_at=from_epoch_ms(made.manifest.made_at),
            size_bytes=made.size_bytes,
            sha256=made.sha256,
            revision=made.manifest.revision,
        )
