"""Upkeep of the hub as a whole: stopping it, and backing it up."""

from collections.abc import Callable
from typing import Annotated, Literal

from hub.api.binding import OPTIONAL
from hub.api.door.roles import Scope
from hub.api.noun import Noun, audited, command, route
from hub.api.parameters import Actor
from hub.api.view import Instant, View
from hub.backups import Backups
from hub.clock import Clock, epoch_ms
from hub.drain import Drain
from hub.log import Channel
from protocol.errors import HubError
from storage import audit
from storage.store import Store

log = Channel(__name__)


class DrainRequest(View):
    """Options of a stop.

    *restarts*: another process takes over, so devices connect again at once; by default that is so
    if a service manager holds the device port.
    """

    restarts: bool | None = None


class DrainView(View, kw_only=True):
    """A hub that stops. *executing*: the number of runs that finish their present step, or pause."""

    state: Literal["draining"] = "draining"
    restarts: bool
    executing: int


class BackupView(View):
    """A backup that was made and checked. *path* is on the hub's own machine."""

    path: str
    made_at: Instant
    size_bytes: int
    sha256: str  # of the file itself
    revision: str  # of its tables


class Upkeep(Noun):
    """The hub as a whole."""

    name, path = "upkeep", "/v1"
    is_scoped = False

    def __init__(
        self,
        *,
        store: Store,
        executing: Callable[[], int],
        drain: Drain,
        backups: Backups,
        clock: Clock,
    ) -> None:
        """Create the noun. *executing*: returns the number of executing runs."""
        self._store = store
        self._executing = executing
        self._drain = drain
        self._backups = backups
        self._clock = clock

    @command(
        "drain",
        example="hub drain --restart",
        json="drain",
        help="Stop the running hub after its work in progress.\n\nNo new runs start. Executing runs finish "
        "their files in progress, or pause and resume when the hub runs again.",
        options={"restarts": "--restart: Ask devices to reconnect at once: another hub takes over."},
        message="the hub stops; runs in progress: {executing}",
    )
    @route("POST", "/drain", Scope.SYSTEM, status=202)
    @audited("hub.drained")
    async def drain(self, options: Annotated[DrainRequest, OPTIONAL], actor: Actor) -> DrainView:
        """Stop gracefully: start no run, and let executing ones finish their present step or pause."""
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
            self._drain.begin(restarts=options.restarts)
        return DrainView(restarts=self._drain.restarts, executing=executing)

    @route("POST", "/backups", Scope.SYSTEM, status=201)
    @audited("backup.made")
    async def back_up(self, actor: Actor) -> BackupView:
        """Make a backup in the hub's own folder, and check it."""
        made = await self._backups.make(actor=actor)
        return BackupView.from_row(made, made.manifest, path=str(made.path))
