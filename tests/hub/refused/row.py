"""A row of the table of refusals: who asks what, and the answer that a person can act on."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Rest(NamedTuple):
    """A request over the operators' interface, as its admin."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}


class Device(NamedTuple):
    """A request of the device ``desk``, over its connection."""

    method: str
    params: Mapping[str, Any] = {}


class Refused(NamedTuple):
    """What is refused.

    Attributes:
        case: the name of the test, as words-with-hyphens.
        ask: the request.
        code: the error's stable code.
        words: each stands in the message or its hint: what is wrong, where, what to do.
        status: of the HTTP answer; None: the one of the code.
    """

    case: str
    ask: Rest | Device
    code: str
    words: tuple[str, ...]
    status: int | None = None
