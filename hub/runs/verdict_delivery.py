"""Delivery of verdicts from the hub to the items' devices: retries, and meaning of refusals.

A verdict is marked as sent before it leaves. Without an answer it is sent again, with the same id: after a
while, or over the device's next connection. The device answers a repeated id as before. So a verdict is
applied once, whichever hub is killed, frozen or restored, and whichever takes over the device.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.links.device_link import DeviceLink, is_idempotent
from hub.runs.attempt_ending import gravest
from hub.runs.delivery import ExcerptSeals, TableRefused, declare, may_change, row_id_of
from hub.runs.found_items import frame_of, payload_of
from protocol.calls import Reviewed
from protocol.capabilities import CAPABILITY_OF
from protocol.coordination import DEVICE
from protocol.errors import (
    CallNotGranted,
    CallUnsupported,
    DeliveryError,
    ErrorCode,
)
from protocol.frame import Record
from protocol.ids import DeviceId
from protocol.items import ReviewVerdict, RowReview, binding
from protocol.owner_grants import OwnerGrant, lacking_words
from protocol.tables import TABLES, Tables
from protocol.tool_calls import Action, Answer, ToolCall
from storage.kernel.database import StorageError
from storage.runs import item_verdicts, items
from storage.runs.item_verdicts import DueVerdict, VerdictAnswer
from storage.runs.items import ItemRow
from storage.store import Connection, Store

log = Channel(__name__)

POLL_S: Final = 2.0  # with a shared database, into which other hubs write verdicts; and after a failure
REST_S: Final = 30.0
ANSWER_MS: Final = 30_000
AGAIN_MS: Final = 5_000  # after a call that was not answered
# one call in each frame: the texts of a verdict may be as long as those of an item
DELIVERIES_AT_ONCE: Final = 16


class VerdictDelivery:
    """Service that sends open verdicts to connected devices."""

    def __init__(
        self,
        store: Store,
        *,
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
        seals: ExcerptSeals,
        tables: Callable[[], Tables] = lambda: TABLES,
    ) -> None:
        """Set up the service.

        Args:
            find_link: returns the link of a device that is connected to this hub and agrees about the past.
            seals: open the quotes of messages that are brought.
            tables: returns the declarations of all tables.
        """
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._seals = seals
        self._tables = tables
        self._find_link = find_link
        self._clock = clock
        self._in_progress: set[DeviceId] = set()

    def recheck(self) -> None:
        """Wake the loop, because a verdict was given or a device has connected."""
        self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send verdicts until cancelled."""
        task_status.started()
        self._in_progress.clear()
        async with anyio.create_task_group() as tasks:
            await self.loop.serve(partial(self._begin, tasks), of="verdicts", every_s=POLL_S)

    async def _begin(self, tasks: TaskGroup) -> float:
        """Start to send the open verdicts of each connected device. Return the seconds to rest."""
        is_any = False
        for device_id in await self._store.read(item_verdicts.devices_with_open):
            link = self._find_link(device_id)
            is_any = is_any or link is not None
            if link is not None and device_id not in self._in_progress:
                self._in_progress.add(device_id)
                tasks.start_soon(self._send_all, link)
        return POLL_S if is_any or self._store.is_shared else REST_S

    async def _send_all(self, link: DeviceLink) -> None:
        try:
            while await self._send_next(link):
                pass
        except Exception as exc:  # the other devices' verdicts must go on
            broken = gravest(exc)
            if isinstance(broken, StorageError):
                log.error("verdict.database", exc=broken)
            else:
                log.error("verdict.broke", exc=broken)
        finally:
            self._in_progress.discard(link.device_id)

    async def _send_next(self, link: DeviceLink) -> bool:
        """Send the oldest verdicts and store the answers. Return True if others may follow."""
        at = now_ms(self._clock)
        due = await self._store.read(
            item_verdicts.due, link.device_id, epoch=link.epoch, at=at, limit=DELIVERIES_AT_ONCE
        )
        if not due:
            return False
        ids, again = [verdict.id for verdict in due], at + ANSWER_MS + AGAIN_MS
        taken = await self._store.write(item_verdicts.claim_sends, ids, epoch=link.epoch, at=at, again=again)
        answers: list[VerdictAnswer] = []

        async def send(verdict: DueVerdict) -> None:
            if (answer := await self._ask(link, verdict)) is not None:
                answers.append(answer)

        sent = [verdict for verdict in due if verdict.id in taken]
        async with anyio.create_task_group() as senders:
            for verdict in sent:
                senders.start_soon(send, verdict)
        await self._settle(link, sent, answers)
        return len(answers) == len(due)

    async def _settle(
        self, link: DeviceLink, sent: Sequence[DueVerdict], answers: Sequence[VerdictAnswer]
    ) -> None:
        at = now_ms(self._clock)
        settled = await self._store.write(
            item_verdicts.settle, link.device_id, answers, epoch=link.epoch, at=at
        )
        for row in settled:
            log.info(
                "verdict.settled",
                verdict_id=row.id,
                item_id=row.item_id,
                device_id=row.device_id,
                state=row.state,
                reason=row.reason,
                sends=row.sends,
            )
        left = {verdict.id for verdict in sent} - {answer.id for answer in answers}
        if left:
            await self._store.write(
                item_verdicts.put_off, sorted(left), epoch=link.epoch, next_at=at + AGAIN_MS
            )

    async def _ask(self, link: DeviceLink, verdict: DueVerdict) -> VerdictAnswer | None:
        """Return the device's answer; None if there is none yet."""
        if verdict.undoes is not None and verdict.row_id is None:
            # A device that was restored lost the row meanwhile: the hub holds the item again, as if no device
            # had ever had it.
            return VerdictAnswer(id=verdict.id, state="open", is_removed=True)
        # The device may have applied what was sent before: only its answer tells.
        is_marked = binding(verdict.warnings) and verdict.verdict in ("approve", "edit")
        is_owned = verdict.seen_row is not None
        refused = refused_by(link, is_marked=is_marked, is_owned=is_owned) if verdict.sends == 0 else None
        is_of_device = verdict.actor == f"{DEVICE}{link.device_id}"
        if is_of_device or (verdict.row_id is None and refused is not ErrorCode.NOT_GRANTED):
            delivered = await self._deliver(link, verdict, is_of_device=is_of_device)
            if delivered is None or isinstance(delivered, VerdictAnswer):
                return delivered
            verdict = delivered
        if refused is not None:
            return VerdictAnswer(id=verdict.id, reason=refused)
        seen = verdict.seen_call if verdict.undoes is None else verdict.undoes
        data, titles = _with_titles(verdict.data)
        frame = ToolCall(
            id=verdict.id,
            action=Action.REVIEW_APPLY,
            table=verdict.target_table,
            where={"id": verdict.row_id},
            data=data,
            review=RowReview(
                verdict=ReviewVerdict(verdict.verdict), seen=seen, titles=titles, row=verdict.seen_row
            ),
            deadline_ms=ANSWER_MS,
        )
        try:
            answer = await link.call(frame)
        except (CallUnsupported, CallNotGranted) as error:
            return VerdictAnswer(id=verdict.id, reason=error.code)
        except DeliveryError:
            return None
        answered = _answer_of(verdict, answer)
        if answered is None or answered.state is None or verdict.undoes is None:
            return answered
        undone = await self._store.read(item_verdicts.undone_by, verdict.undoes)
        if undone is None or undone.seen_row is not None:
            return answered
        if answered.state != "open":  # which the item was before, so that the device did something else
            return msgspec.structs.replace(answered, reason=ErrorCode.DEVICE_ERROR)
        return await self._take_back(link, verdict, answered) if undone.was_held else answered

    async def _take_back(
        self, link: DeviceLink, verdict: DueVerdict, answer: VerdictAnswer
    ) -> VerdictAnswer | None:
        """Delete the row of an item that the hub held before the approval that is undone.

        A row that the device does not delete remains a suggestion. Return None if there is no answer yet.
        """
        try:
            deleted = await link.call(
                ToolCall(
                    id=f"{verdict.id}-row",
                    action=Action.DELETE,
                    table=verdict.target_table,
                    where={"id": verdict.row_id},
                    deadline_ms=ANSWER_MS,
                )
            )
        except CallUnsupported:
            return answer
        except DeliveryError:
            return None
        if may_change(deleted):
            return None
        is_removed = isinstance(deleted.result, dict) and deleted.result.get("deleted") == 1
        return msgspec.structs.replace(
            answer, is_removed=is_removed, counter=deleted.counter or answer.counter
        )

    async def _deliver(
        self, link: DeviceLink, verdict: DueVerdict, *, is_of_device: bool
    ) -> DueVerdict | VerdictAnswer | None:
        """Bring the item of a verdict, which the hub held. Return the verdict on its row.

        Without it, return the answer that settles the verdict, or None if there is none yet.
        """
        if verdict.sends and not is_idempotent(link.capabilities):  # it may insert the item twice
            return VerdictAnswer(id=verdict.id, reason=ErrorCode.UNKNOWN_EFFECT)

        def read(c: Connection) -> list[ItemRow]:
            return self._seals.with_quotes(c, [items.get_item(c, verdict.item_id)[0]])

        [item] = await self._store.read(read)
        table = self._tables().of(item.target_table)
        try:
            if table.name not in TABLES:
                await declare(link, [table], call_id=f"{verdict.id}-table")
            payload = payload_of(
                table, item.data, item.source or {}, before=None, row_id=None, can_update=False
            )
            frame = frame_of(
                item.call_id,
                item.target_table,
                payload,
                run_id=item.run_id,
                agent_id=item.agent_id,
                deadline_ms=ANSWER_MS,
            )
            answer = await link.call(frame)
            if may_change(answer):
                return None
            if answer.error is not None:
                return VerdictAnswer(id=verdict.id, reason=answer.error.code)
            row_id = row_id_of(answer)
            await self._store.write(
                item_verdicts.note_delivered,
                link.device_id,
                item.call_id,
                row_id,
                counter=answer.counter,
                epoch=link.epoch,
                at=now_ms(self._clock),
            )
        except TableRefused as error:
            return VerdictAnswer(id=verdict.id, reason=error.code)
        except DeliveryError:
            return None
        log.info("item.released", item_id=item.id, device_id=link.device_id, verdict_id=verdict.id)
        if row_id is None:  # an old device, which accepts no verdict on it
            return VerdictAnswer(id=verdict.id, reason=ErrorCode.CALL_UNSUPPORTED)
        if is_of_device:  # the device has approved it as it wrote it, if it is the item that was seen
            is_approved = answer.result.get("isApproved") in (1, True)
            return VerdictAnswer(id=verdict.id, state="approved" if is_approved else "open")
        return msgspec.structs.replace(verdict, row_id=row_id)


def refused_by(
    link: DeviceLink, *, is_marked: bool = False, is_owned: bool = False
) -> Literal[ErrorCode.CALL_UNSUPPORTED, ErrorCode.NOT_GRANTED] | None:
    """Return why a device takes no verdict from this hub, or None.

    Args:
        is_marked: the verdict approves or edits an item that has a mark.
        is_owned: the verdict edits a row that its owner has approved.
    """
    if not link.can(CAPABILITY_OF[Action.REVIEW_APPLY]):
        return ErrorCode.CALL_UNSUPPORTED
    granted = link.owner_grants.get(OwnerGrant.REVIEW_REMOTE)
    is_refused = granted is None or lacking_words(granted, is_marked=is_marked, is_approved=is_owned)
    return ErrorCode.NOT_GRANTED if is_refused else None


def _with_titles(data: dict[str, Any]) -> tuple[Record, dict[str, str]]:
    """Return the values of a verdict, and the titles of rows that it names instead of their ids."""
    titles = {name: value["title"] for name, value in data.items() if isinstance(value, dict)}
    return {name: value for name, value in data.items() if name not in titles}, titles


def _answer_of(verdict: DueVerdict, answer: Answer) -> VerdictAnswer | None:
    """Return what a device answered; None if it may answer differently when it is asked again."""
    if answer.error is not None and answer.error.code != ErrorCode.NOT_GRANTED and may_change(answer):
        return None
    if answer.error is not None:
        return VerdictAnswer(id=verdict.id, reason=answer.error.code, counter=answer.counter)
    try:
        state = msgspec.convert(answer.result, Reviewed).state
    except msgspec.ValidationError:
        return VerdictAnswer(id=verdict.id, reason=ErrorCode.DEVICE_ERROR, counter=answer.counter)
    return VerdictAnswer(id=verdict.id, state=state, counter=answer.counter)
