"""Grants that requests of a device require.

No grant is required for requests about the device itself, for reading its own agents, and for reports on
behalf of its owner.
"""

from collections.abc import Mapping
from typing import Final

from hub.links.link import DeviceLink
from hub.requests.params import Handler, Later, Methods
from protocol.coordination import Method
from protocol.frame import Parameters
from storage.devices import devices
from storage.devices.devices import Grant
from storage.store import Store

GRANT_OF: Final[Mapping[str, Grant]] = {
    **dict.fromkeys(
        (
            Method.AGENTS_CREATE,
            Method.AGENTS_UPDATE,
            Method.AGENTS_DELETE,
            Method.STATUS_SET,
            Method.RUNS_START,
            Method.RUNS_CANCEL,
            Method.CONFIG_SET,
            Method.CONFIG_UNSET,
            Method.CAPABILITIES_PUT,
            Method.CAPABILITIES_REMOVE,
            Method.CHECKPOINTS_PUT,
            Method.CHECKPOINTS_CLEAR,
        ),
        Grant.AGENTS,
    ),
    **dict.fromkeys(
        (
            Method.LOCKS_ACQUIRE,
            Method.LOCKS_RENEW,
            Method.BOARDS_LIST,
            Method.MEMORY_LIST,
            Method.MEMORY_ADD,
            Method.MESSAGES_LIST,
            Method.MESSAGES_ANSWER,
            Method.MESSAGES_NUDGE,
            Method.QUESTIONS_ASK,
        ),
        Grant.COORDINATION,
    ),
}


def granted(store: Store, methods: Methods) -> Methods:
    """Return *methods*; each raises NotGranted if the requesting device lacks its grant."""
    return {
        name: handler if (grant := GRANT_OF.get(name)) is None else _after_grant(store, grant, handler)
        for name, handler in methods.items()
    }


def _after_grant(store: Store, grant: Grant, handler: Handler) -> Handler:
    async def answer(link: DeviceLink, params: Parameters) -> Parameters | Later:
        await store.read(devices.require_grant, link.device_id, grant)
        return await handler(link, params)

    return answer
