"""Request that completes a sign-in with the redirect that the browser on a device received."""

from functools import partial

import msgspec

from hub.accounts.sign_in import SignIns
from hub.api.device import Later
from hub.links.link import DeviceLink
from hub.requests.params import Methods, params_as
from protocol.coordination import Method
from protocol.frame import Parameters


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    sign_in_id: str
    state: str
    code: str | None = None
    error: str | None = None


class SignInRequests:
    """Handler of ``sign_ins.*``."""

    def __init__(self, sign_ins: SignIns) -> None:
        self._sign_ins = sign_ins

    @property
    def methods(self) -> Methods:
        return {Method.SIGN_INS_ANSWER: self._answer}

    async def _answer(self, link: DeviceLink, params: Parameters) -> Later:
        """Complete a sign-in of this device. The provider is asked without blocking other requests."""
        return Later(partial(self._taken, link, params_as(params, _Answer)))

    async def _taken(self, link: DeviceLink, given: _Answer) -> Parameters:
        row = await self._sign_ins.answer(
            given.state,
            code=given.code,
            error=given.error,
            id=given.sign_in_id,
            device_id=link.device_id,
        )
        return {"outcome": row.outcome}
