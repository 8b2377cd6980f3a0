"""Delivery of questions and their results to people's devices, and expiry of questions.

Rows of ``question_tellings`` record confirmations by devices. The call ids are derived,
so a device that gets a question twice, after a crash or from another hub, shows it once. The answer is a
request of the device, not the answer to this call.
"""

from collections.abc import Callable, Iterable
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Clock, epoch_ms
from hub.coordination.questions import Questions
from hub.links.link import DeviceLink
from hub.log import Channel
from hub.turns import Turns
from protocol.asking import ANSWER_CHARACTERS, QuestionToUser, asking_call_id
from protocol.errors import DeliveryError, DeviceGone
from protocol.ids import DeviceId
from protocol.work import Action, ToolCall
from storage.coordination import question_rows, questions
from storage.coordination.question_rows import QuestionRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 30.0  # interval, because another hub may ask a question, and questions expire
ANSWER_S: Final = 30.0  # for a device to confirm
AGAIN_S, AGAIN_CAP_S = 5.0, 60.0  # after a call without confirmation, doubled with each
AT_ONCE: Final = 500  # devices in progress
OF_DEVICE: Final = 50  # per read


class QuestionDelivery:
    """Delivers every question and its result to the devices of its user."""

    def __init__(
        self,
        store: Store,
        *,
        asked: Questions,
        links: Callable[[], Iterable[DeviceLink]],
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
    ) -> None:
        """Set up the service.

        Args:
            links: returns the links of the devices connected to this hub.
            find_link: returns a device's link if it is connected.
        """
        self.turns = Turns(clock)
        self.answer_s = ANSWER_S
        self._store = store
        self._questions = asked
        self._links = links
        self._find_link = find_link
        self._clock = clock
        self._in_flight: set[DeviceId] = set()
        self._fresh: set[DeviceId] = set()  # connected, or got news, while in progress
        self._is_everybody = True
        self._wake = anyio.Event()
        asked.listen(lambda row: self.recheck())

    def recheck(self) -> None:
        """Wake the loop, because a question was added or settled."""
        self._is_everybody = True
        self._wake.set()

    def device_ready(self, device_id: DeviceId) -> None:
        """Schedule a device that has connected, because it may have missed questions."""
        self._fresh.add(device_id)
        self._wake.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Deliver questions until cancelled."""
        task_status.started()
        self._in_flight.clear()
        async with anyio.create_task_group() as tasks:
            while True:
                # created before the read, so that a later notification is not lost
                self._wake = anyio.Event()
                self.turns.work()
                try:
                    await self._questions.expire()
                    await self._poll(tasks)
                except StorageError as exc:
                    log.error("question.database", exc=exc)
                except Exception as exc:  # the loop must survive any error
                    log.error("question.broke", exc=exc)
                self.turns.wait(POLL_S)
                await self._wait(POLL_S)
                if not self._wake.is_set():
                    self._is_everybody = True  # another hub may have added questions

    async def _poll(self, tasks: TaskGroup) -> None:
        """Start delivery to every connected device with news."""
        fresh, self._fresh = self._fresh, set()
        if self._is_everybody:
            self._is_everybody = False
            here = [link.device_id for link in self._links() if link.can(Action.USER_ASK)]
        else:
            here = [id for id in fresh if (link := self._find_link(id)) and link.can(Action.USER_ASK)]
        if not here:
            return
        for device_id in await self._store.read(questions.with_news, here):
            if device_id in self._in_flight:
                self._fresh.add(device_id)  # checked again after the delivery in progress
            elif len(self._in_flight) < AT_ONCE:
                self._in_flight.add(device_id)
                tasks.start_soon(self._deliver, device_id)
            else:
                self._is_everybody = True

    async def _deliver(self, device_id: DeviceId) -> None:
        """Deliver all news to a device, as long as its current connection lasts."""
        wait_s = AGAIN_S
        link = self._find_link(device_id)
        try:
            while link is not None and self._find_link(device_id) is link:
                due = await self._store.read(questions.due_of, device_id, OF_DEVICE)
                if not due:
                    return
                if await self._send_all(link, due):
                    wait_s = AGAIN_S
                    continue
                await self._clock.sleep(wait_s)
                wait_s = min(AGAIN_CAP_S, wait_s * 2)
        except DeviceGone:
            return  # continued after its next connection
        except StorageError as exc:  # unrecorded confirmations are repeated under the same id
            log.error("question.database", exc=exc)
        finally:
            self._in_flight.discard(device_id)
            if device_id in self._fresh:
                self._wake.set()

    async def _send_all(self, link: DeviceLink, due: list[questions.Due]) -> bool:
        """Return True if the device confirmed all questions. Raises DeviceGone."""
        is_all = True
        for one in due:
            row = one.question
            frame = ToolCall(
                id=asking_call_id(row.id, link.device_id, is_settled=one.is_settled),
                action=Action.USER_ASK,
                data=question_to_user(row, settled_by=await self._by(row)).record(),
                agent_id=row.from_agent_id,
                deadline_ms=round(self.answer_s * 1_000),
            )
            try:
                answer = await link.call(frame)
            except DeviceGone:
                raise
            except DeliveryError as exc:
                log.info("question.untold", question_id=row.id, device_id=link.device_id, code=exc.code)
                return False
            if answer.error is not None:
                code = answer.error.code
                log.warning("question.refused", question_id=row.id, device_id=link.device_id, code=code)
                is_all = False  # the device may confirm the others
                continue
            at = epoch_ms(self._clock.now())
            await self._store.write(questions.note_delivered, one, link.device_id, at)
            log.info("question.told", question_id=row.id, device_id=link.device_id, state=row.state)
        return is_all

    async def _by(self, row: QuestionRow) -> str | None:
        """Return the displayed name of the author of the valid answer, or None."""
        if row.answered_by is None:
            return None
        return await self._store.read(question_rows.actor_name, row.answered_by)

    async def _wait(self, seconds: float) -> None:
        """Wait until the time has passed, or ``recheck`` is called."""
        async with anyio.create_task_group() as waiting:

            async def in_time() -> None:
                await self._clock.sleep(seconds)
                waiting.cancel_scope.cancel()

            waiting.start_soon(in_time)
            await self._wake.wait()
            waiting.cancel_scope.cancel()


def question_to_user(row: QuestionRow, *, settled_by: str | None = None) -> QuestionToUser:
    """Return the question in the form sent to a device."""
    return QuestionToUser(
        question_id=row.id,
        content=row.content,
        state=row.state,
        board=row.board,
        asked_by=row.from_agent,
        preferred_channel=row.preferred_channel,
        correlation_id=row.correlation_id,
        asked_at=row.created_at,
        expires_at=row.expires_at,
        answer=None if row.answer is None else row.answer[:ANSWER_CHARACTERS],
        settled_by=settled_by,
    )
