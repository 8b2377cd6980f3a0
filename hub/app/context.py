"""What every part of the hub stands on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hub.agents.standing import Moves
from hub.api.nouns.debug import Dumper
from hub.app.systemd import ServiceManager
from hub.clock import Chance, Clock, IdFactory
from hub.drain import Drain
from hub.log import Log
from hub.metrics import Metrics
from hub.settings.settings import Settings
from hub.settings.settings_watch import SettingsWatch
from protocol.ids import BootId, NodeId
from storage.store import Store

NODE: Final = "node_id"


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one hub: its settings, its folder, its database, its clock and its chance.

    Attributes:
        settings: what the hub was started with.
        watch_settings: what changes them while the hub runs.
        state: the folder with all that the hub keeps.
        boot_id: this start of the hub.
        node_id: who this node is, for as long as its state folder lives.
        moves: those of agents that this node's own writes made.
    """

    settings: Settings
    watch_settings: SettingsWatch
    state: Path
    store: Store
    clock: Clock
    chance: Chance
    ids: IdFactory
    boot_id: BootId
    node_id: NodeId
    manager: ServiceManager
    drain: Drain
    log: Log
    debug: Dumper
    metrics: Metrics
    moves: Moves = field(default_factory=Moves)


def node_id(state: Path, ids: IdFactory) -> NodeId:
    """Who the node of the folder *state* is; it is drawn when the folder is used first."""
    file = state / NODE
    try:
        return NodeId(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        fresh = ids.fresh()
        file.write_text(fresh + "\n", encoding="ascii")
        return NodeId(fresh)
