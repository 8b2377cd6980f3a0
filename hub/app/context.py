"""Context that all parts of the hub share."""

from dataclasses import dataclass, field
from pathlib import Path

from hub.agents.writing import Moves
from hub.api.nouns.debug import Dumper
from hub.app.node import Node
from hub.app.systemd import ServiceManager
from hub.clock import Chance, Clock, IdFactory
from hub.drain import Drain
from hub.log import Log
from hub.metrics import Metrics
from hub.runs.clock_watch import ClockWatch
from hub.settings.reload import SettingsWatch
from hub.settings.settings import Settings
from protocol.ids import BootId
from storage.store import ObservedDatabase


@dataclass(frozen=True, slots=True)
class Context:
    """Context of a hub: settings, state folder, database, clock and randomness.

    Attributes:
        settings: settings at the hub's start.
        watch_settings: service that changes the settings while the hub runs.
        state: folder with all data of the hub.
        boot_id: id of this start of the hub.
        node: identity of this node, stored in its state folder.
        clock_watch: moves *clock* when the machine's clock was set; None: a test moves it.
        moves: state changes of agents written by this node.
    """

    settings: Settings
    watch_settings: SettingsWatch
    state: Path
    store: ObservedDatabase
    clock: Clock
    chance: Chance
    ids: IdFactory
    boot_id: BootId
    node: Node
    manager: ServiceManager
    drain: Drain
    log: Log
    debug: Dumper
    metrics: Metrics
    clock_watch: ClockWatch | None = None
    moves: Moves = field(default_factory=Moves)
