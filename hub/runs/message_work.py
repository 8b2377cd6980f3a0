"""Processing of one mailbox message in a run: extraction, planning and delivery."""

from collections.abc import Sequence
from typing import Protocol

import anyio
import msgspec

from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import Wanted
from hub.links.link import DeviceLink
from hub.runs.asking import RunAsking
from hub.runs.attempt import Attempt, Reading
from hub.runs.interrupt import Interrupt
from hub.runs.order import RunOrder
from hub.runs.references import references_of
from protocol.errors import DeviceGone, DeviceOffline
from storage.runs.outbox import OpenCall


class Reads(Protocol):
    """Operations of the runner on any document."""

    async def unit(
        self, attempt: Attempt, reading: Reading, slots: anyio.Semaphore, interrupt: Interrupt
    ) -> None: ...

    async def bring(
        self,
        attempt: Attempt,
        link: DeviceLink | None,
        unit_key: str,
        calls: Sequence[OpenCall],
        interrupt: Interrupt,
    ) -> None: ...


class MessageWork:
    """Processing of the messages that one attempt reads.

    Args:
        has_model: True if a model is available for free text.
        slots: one is acquired for each message in progress, and released at its end.
    """

    def __init__(
        self,
        runner: Reads,
        attempt: Attempt,
        asking: RunAsking,
        interrupt: Interrupt,
        slots: anyio.Semaphore,
        *,
        has_model: bool,
    ) -> None:
        self.has_model = has_model
        self._runner = runner
        self._attempt = attempt
        self._asking = asking
        self._interrupt = interrupt
        self._slots = slots
        self._wanted: Wanted | None = None  # fetched for the first message
        self._asks = anyio.Lock()  # the device is queried once, by the first of several concurrent messages

    async def room(self) -> None:
        """Wait until another message may be read."""
        await self._asking.make_room()
        await self._slots.acquire()

    async def read(self, document: Document, message: Message, *, read_at: int) -> None:
        """Extract and plan a message after ``room``, and deliver its items if the device is connected."""
        attempt = self._attempt
        wanted = await self._what_is_wanted()
        reading = Reading(attempt.link, self._asking, wanted, document, read_at, message)
        await self._runner.unit(attempt, reading, self._slots, self._interrupt)

    async def _what_is_wanted(self) -> Wanted:
        attempt = self._attempt
        async with self._asks:
            if self._wanted is None:
                try:
                    self._wanted = await wanted_of_run(attempt.link, attempt.order)
                except (DeviceGone, DeviceOffline):
                    attempt.link, self._wanted = None, attempt.order.wanted
            return self._wanted

    async def bring(self, unit_key: str, calls: Sequence[OpenCall]) -> None:
        """Deliver calls that were planned earlier."""
        await self._runner.bring(self._attempt, self._attempt.link, unit_key, calls, self._interrupt)


async def wanted_of_run(link: DeviceLink | None, order: RunOrder) -> Wanted:
    """Return the extraction settings with the device's rows that items may refer to.

    The list of rows is empty if the device is disconnected.
    """
    if link is None:
        return order.wanted
    return msgspec.structs.replace(order.wanted, references=await references_of(link, order))
