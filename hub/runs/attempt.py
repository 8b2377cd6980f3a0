"""What a run has in hand while it executes: the attempt itself, and each document that is being read."""

from typing import NamedTuple

import anyio

from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import Wanted
from hub.links.link import DeviceLink
from hub.runs.asking import RunAsking
from hub.runs.delivery import CALLS_IN_FLIGHT
from hub.runs.order import RunOrder
from protocol.lifecycles import RunState


class Attempt:
    """What one execution of a run knows of itself."""

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.state = RunState.PREPARING
        self.lanes = anyio.Semaphore(CALLS_IN_FLIGHT)
        self.is_full = False  # it has brought as many items as a run may
        self.postponed: set[str] = set()  # its units whose prose waits for the model
        self.unanswered: str | None = None  # why the model gave no answer about one of them
        self.link: DeviceLink | None = None  # of a run that reads a mailbox, as long as its device is there


class Reading(NamedTuple):
    """A document in hand: its device, if it is there, whom to ask about it and for what, when it was here."""

    link: DeviceLink | None
    asking: RunAsking
    wanted: Wanted
    document: Document
    read_at: int
    message: Message | None = None  # of a mailbox
