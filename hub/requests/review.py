"""Report of the verdicts of a device's owner on items."""

from typing import Final

import msgspec

from hub.clock import Clock, epoch_ms
from hub.links.link import DeviceLink
from hub.metrics import Metrics
from hub.requests.params import BadParams, Methods
from protocol.coordination import Method
from protocol.frame import Parameters
from storage.runs import calls
from storage.runs.calls import ReportedVerdict
from storage.store import Store

MOST_VERDICTS: Final = 500  # in one report: as much as one write may look up


class ReviewRequests:
    """Handler of ``review.report``."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._unknown_verdicts = metrics.verdicts_unknown

    @property
    def methods(self) -> Methods:
        return {Method.REVIEW_REPORT: self._report}

    async def _report(self, link: DeviceLink, params: Parameters) -> Parameters:
        verdicts = _verdicts(params)
        at = epoch_ms(self._clock.now())
        known = await self._store.write(calls.record_verdicts, link.device_id, verdicts, at)
        if known < len(verdicts):
            self._unknown_verdicts.inc(len(verdicts) - known)
        return {"known": known, "unknown": len(verdicts) - known}


def _verdicts(params: Parameters) -> list[ReportedVerdict]:
    """Return the last verdict on each call.

    Raises:
        BadParams: the list is too long, or an entry is not a verdict.
    """
    listed = params.get("verdicts")
    if not isinstance(listed, list) or len(listed) > MOST_VERDICTS:
        raise BadParams(f"verdicts: expected a list of at most {MOST_VERDICTS}")
    try:
        verdicts = msgspec.convert(listed, list[ReportedVerdict])
    except msgspec.ValidationError as error:
        raise BadParams(f"verdicts: {error}") from error
    return list({one.call_id: one for one in verdicts}.values())
