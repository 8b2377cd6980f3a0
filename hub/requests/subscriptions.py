"""Requests about events: a device subscribes for the duration of its connection."""

from hub.links.device_events import DeviceEvents
from hub.links.link import DeviceLink
from hub.requests.params import BadParams, Methods
from protocol.coordination import EventName, Method
from protocol.frame import Parameters, Values


class SubscriptionRequests:
    """Handlers of ``subscribe`` and ``unsubscribe``. A new connection has no subscription."""

    def __init__(self, events: DeviceEvents) -> None:
        self._events = events

    @property
    def methods(self) -> Methods:
        return {Method.SUBSCRIBE: self._subscribe, Method.UNSUBSCRIBE: self._unsubscribe}

    async def _subscribe(self, link: DeviceLink, params: Parameters) -> Values:
        return {"events": list(self._events.subscribe(link, _names(params)))}

    async def _unsubscribe(self, link: DeviceLink, params: Parameters) -> Values:
        return {"events": list(self._events.unsubscribe(link, _names(params)))}


def _names(params: Parameters) -> list[str]:
    """Return the requested names, at most two for each event.

    Raises:
        BadParams: the parameter is not a list of names.
    """
    given = params.get("events")
    most = 2 * len(EventName)
    if not isinstance(given, list) or not 0 < len(given) <= most:
        raise BadParams(f'events: expected a list of 1 to {most} names, as in ["agent.moved", "run.*"]')
    names = [name for name in given if isinstance(name, str)]
    if len(names) < len(given):
        raise BadParams("events: expected a list of names, and one of them is no text")
    return names
