"""Answers of devices, written in sets: those that come during one write go into the next one.

An answer needs about seven statements of its own, and a run has many calls in flight: together they need as
many statements as one of them.
"""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from protocol.errors import HubError
from storage.runs.calls import CallAnswer

WriteAnswers = Callable[[Sequence[CallAnswer]], Awaitable[Sequence[bool | HubError]]]


class _Waiting:
    """Answer that is to be written. *turn*: set when it was written, or when its task has to write."""

    __slots__ = ("answer", "outcome", "turn")

    def __init__(self, answer: CallAnswer) -> None:
        self.answer = answer
        self.turn = anyio.Event()
        self.outcome: bool | Exception | None = None


class Settling:
    """Writer of the answers of one run. One of the waiting tasks writes all answers that are there."""

    def __init__(self, write: WriteAnswers) -> None:
        self._write_answers = write
        self._waiting: list[_Waiting] = []
        self._writer: _Waiting | None = None

    async def settle(self, answer: CallAnswer) -> bool:
        """Return whether the answer settled its call, after it is on the disk.

        A task that is cancelled while it writes leaves the answers of the others to the next of them: it is
        unknown whether they were written, and to write an answer twice changes nothing.

        Raises:
            LinkLost, IllegalTransition: see ``storage.runs.calls.settle_calls``; nothing was written.
            StorageError: the write failed.
        """
        mine = _Waiting(answer)
        self._waiting.append(mine)
        try:
            if self._writer is not None:
                await mine.turn.wait()
            if mine.outcome is None:
                self._writer = mine
                await self._write()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
            if self._writer is mine:
                self._writer = self._waiting[0] if self._waiting else None
                if self._writer is not None:
                    self._writer.turn.set()
        assert mine.outcome is not None
        if isinstance(mine.outcome, Exception):
            raise mine.outcome
        return mine.outcome

    async def _write(self) -> None:
        written, outcomes = list(self._waiting), list[bool | HubError]()
        try:
            outcomes += await self._write_answers([one.answer for one in written])
        except Exception as error:
            for one in written:
                one.outcome = error
        else:
            for one, outcome in zip(written, outcomes, strict=True):
                one.outcome = outcome
        self._waiting = self._waiting[len(written) :]
        for one in written:
            one.turn.set()
