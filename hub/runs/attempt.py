"""In-memory state of a run's execution: the attempt, and each document that is being read."""

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
    """State of one execution of a run."""

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.state = RunState.PREPARING
        self.lanes = anyio.Semaphore(CALLS_IN_FLIGHT)
        self.is_full = False  # reached the largest number of items of a run
        self.postponed: set[str] = set()  # units whose free text waits for the model
        self.unanswered: str | None = None  # why the model did not answer about one of them
        # only for a run that reads a mailbox, while its device is connected
        self.link: DeviceLink | None = None


class Reading(NamedTuple):
    """A document that is being read.

    Attributes:
        link: link to the unit's device, or None if it is not connected.
        read_at: when the document was read, in epoch milliseconds.
        message: the mailbox message of the document; None for a file.
    """

    link: DeviceLink | None
    asking: RunAsking
    wanted: Wanted
    document: Document
    read_at: int
    message: Message | None = None  # of a mailbox
