"""Execution of calls that need a grant of the device's owner, beside the queue of those to its own tables."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio
import msgspec

from hub.base.log import Channel
from hub.device.connection import HubConnection, Tools, refusal
from hub.device.device_file import DeviceStore
from hub.device.rows import CallRefusal
from protocol.errors import ErrorCode
from protocol.owner_grants import refused_by_owner
from protocol.tool_calls import Answer, ToolCall

log = Channel(__name__)


class GrantedCalls(ABC):
    """Executor of such calls of one connection.

    Attributes:
        at_once: number of calls that are executed concurrently; more are refused.
    """

    at_once: ClassVar[int]

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._slots = anyio.Semaphore(self.at_once)

    async def handle_call(self, line: HubConnection, call: ToolCall) -> None:
        """Execute a call, and answer it."""
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            await line.answer([(call, refusal(ErrorCode.TOO_MANY_CALLS, f"{self.at_once} open at most"))])
            return
        try:
            answer = await self._answer(call)
        finally:
            self._slots.release()
        await line.answer([(call, answer)])

    async def _answer(self, call: ToolCall) -> Answer:
        granted = await self._tools.on_file(DeviceStore.granted, otherwise=dict[str, list[str]]())
        if (why := refused_by_owner(call, granted)) is not None:
            return refusal(ErrorCode.NOT_GRANTED, why)
        try:
            return Answer(result=await self.execute(call, granted))
        except CallRefusal as refused:
            return refusal(refused.code, str(refused))
        except msgspec.ValidationError as error:
            return refusal(ErrorCode.BAD_PARAMS, str(error))
        except Exception as error:  # a failing call must not stop the device
            log.error("device.run.failed", exc=error)
            return refusal(ErrorCode.INTERNAL, "a fault in the device")

    @abstractmethod
    async def execute(self, call: ToolCall, granted: Mapping[str, Sequence[str]]) -> Any:
        """Return the result of a call. Raises CallRefusal, ValidationError.

        Args:
            granted: tables or folders of each grant, by the grant's name.
        """
