"""Tells devices of questions to their person, and how each ended; and lets questions end by their time.

Rows of ``storage.coordination.question_tellings`` say what a device has confirmed. The
ids of the calls are derived, so a device that is told twice, by a hub that was killed in
between or by another one, has one question. Who answers is a request of the device, not this call.
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
from storage.coordination import questions
from storage.coordination.questions import QuestionRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 30.0  # what another hub was asked, and what no longer has to wait
ANSWER_S: Final = 30.0  # in which a device says that it knows
AGAIN_S, AGAIN_CAP_S = 5.0, 60.0  # after a call that was not confirmed, doubled with each
AT_ONCE: Final = 500  # devices that are told just now
OF_DEVICE: Final = 50  # looked up at once


class QuestionTeller:
    """Brings every question, and every end of one, to the devices of its person."""

    def __init__(
        self,
        store: Store,
        *,
        asked: Questions,
        links: Callable[[], Iterable[DeviceLink]],
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
    ) -> None:
        """How they are told.

        Args:
            links: the devices that are connected to this hub.
            find_link: one of them, if it is connected.
        """
        self.turns = Turns(clock)
        self.answer_s = ANSWER_S
        self._store = store
        self._questions = asked
        self._links = links
        self._find_link = find_link
        self._clock = clock
        self._in_hand: set[DeviceId] = set()
        self._fresh: set[DeviceId] = set()  # came, or has news, while it was told
        self._is_everybody = True
        self._wake = anyio.Event()
        asked.listen(lambda row: self.look_again())

    def look_again(self) -> None:
        """There is another question, or one was settled."""
        self._is_everybody = True
        self._wake.set()

    def device_ready(self, device_id: DeviceId) -> None:
        """A device has come, and is to be told what it missed."""
        self._fresh.add(device_id)
        self._wake.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Tell devices until cancelled."""
        task_status.started()
        self._in_hand.clear()
        async with anyio.create_task_group() as tellers:
            while True:
                self._wake = anyio.Event()  # before looking: what is told meanwhile is looked at next time
                self.turns.work()
                try:
                    await self._questions.expire()
                    await self._look(tellers)
                except StorageError as exc:
                    log.error("question.database", exc=exc)
                except Exception as exc:  # the loop that must survive
                    log.error("question.broke", exc=exc)
                self.turns.wait(POLL_S)
                await self._wait(POLL_S)
                if not self._wake.is_set():
                    self._is_everybody = True  # another hub may have asked

    async def _look(self, tellers: TaskGroup) -> None:
        """Begin with every device that is here and is to be told something."""
        fresh, self._fresh = self._fresh, set()
        if self._is_everybody:
            self._is_everybody = False
            here = [link.device_id for link in self._links() if link.can(Action.USER_ASK)]
        else:
            here = [id for id in fresh if (link := self._find_link(id)) and link.can(Action.USER_ASK)]
        if not here:
            return
        for device_id in await self._store.read(questions.with_news, here):
            if device_id in self._in_hand:
                self._fresh.add(device_id)  # looked at again when it was told what it is told now
            elif len(self._in_hand) < AT_ONCE:
                self._in_hand.add(device_id)
                tellers.start_soon(self._tell_device, device_id)
            else:
                self._is_everybody = True

    async def _tell_device(self, device_id: DeviceId) -> None:
        """Tell a device all there is, as long as this connection of it lasts."""
        wait_s = AGAIN_S
        link = self._find_link(device_id)
        try:
            while link is not None and self._find_link(device_id) is link:
                due = await self._store.read(questions.due_of, device_id, OF_DEVICE)
                if not due:
                    return
                if await self._tell_all(link, due):
                    wait_s = AGAIN_S
                    continue
                await self._clock.sleep(wait_s)
                wait_s = min(AGAIN_CAP_S, wait_s * 2)
        except DeviceGone:
            return  # it is told when it is back
        except StorageError as exc:  # what was not written down is told again by the same id
            log.error("question.database", exc=exc)
        finally:
            self._in_hand.discard(device_id)
            if device_id in self._fresh:
                self._wake.set()

    async def _tell_all(self, link: DeviceLink, due: list[questions.Due]) -> bool:
        """Whether the device has confirmed all of it. Raises DeviceGone."""
        is_all = True
        for one in due:
            row = one.question
            frame = ToolCall(
                id=asking_call_id(row.id, link.device_id, is_settled=one.is_settled),
                action=Action.USER_ASK,
                data=told_question(row, settled_by=await self._by(row)).record(),
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
                is_all = False  # the others may be taken
                continue
            at = epoch_ms(self._clock.now())
            await self._store.write(questions.told, one, link.device_id, at)
            log.info("question.told", question_id=row.id, device_id=link.device_id, state=row.state)
        return is_all

    async def _by(self, row: QuestionRow) -> str | None:
        """Who gave the answer that counts, as people call them."""
        if row.answered_by is None:
            return None
        return await self._store.read(questions.told_actor, row.answered_by)

    async def _wait(self, seconds: float) -> None:
        """Until so much time has gone by, or somebody says to look again."""
        async with anyio.create_task_group() as waiting:

            async def in_time() -> None:
                await self._clock.sleep(seconds)
                waiting.cancel_scope.cancel()

            waiting.start_soon(in_time)
            await self._wake.wait()
            waiting.cancel_scope.cancel()


def told_question(row: QuestionRow, *, settled_by: str | None = None) -> QuestionToUser:
    """The question as a device is told of it."""
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
