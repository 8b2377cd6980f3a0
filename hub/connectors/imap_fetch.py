"""Fetching of many messages at once, and individually after a failure.

An answer that cannot be parsed is usually the fault of one message: missing messages are fetched
individually, so that this one is identified by its UID and the others are read.

A message removed meanwhile is missing in the answer, or has only NIL sections once (dovecot, with
``EXPUNGEISSUED``); an individual repetition omits it.
"""

from collections.abc import Sequence
from typing import Final

from hub.connectors.imap_bodies import Order
from hub.connectors.imap_parts import UNKNOWN, Fetched, fetched
from hub.connectors.imap_wire import Answer, Wire
from hub.connectors.imap_words import set_of

_GONE: Final = "EXPUNGEISSUED"
_AT_ONCE: Final = 25  # messages in one FETCH of headers


def fetch_all(wire: Wire, uids: Sequence[int], asked: bytes) -> dict[int, Fetched]:
    """Fetch messages by UID; removed ones are omitted, and one that the server cannot show is empty."""
    found: dict[int, Fetched] = {}
    doubtful: list[int] = []
    # Several commands are sent at once: one answer is parsed while the server prepares the next.
    parts = [uids[at : at + _AT_ONCE] for at in range(0, len(uids), _AT_ONCE)]
    tags = [wire.send(b"UID", b"FETCH", set_of(part), asked) for part in parts]
    for part, tag in zip(parts, tags, strict=True):
        answer = wire.finish(tag, may_refuse=True)
        fault = _take(answer, set(uids), found)
        doubtful += _doubtful(answer, part, found, fault)
    for uid in doubtful:
        found.pop(uid, None)
        alone = _alone(wire, uid, asked)
        if alone is not None:
            found[uid] = Fetched(uid) if isinstance(alone, str) else alone
    return found


def fetch_bodies(wire: Wire, orders: Sequence[Order]) -> dict[int, Fetched | str]:
    """Fetch bodies by UID; a string is a failure's reason. All commands are sent before the first answer."""
    found: dict[int, Fetched] = {}
    tags = [wire.send(b"UID", b"FETCH", *order.words()) for order in orders]
    answers = [wire.finish(tag, may_refuse=True) for tag in tags]
    fault = ""
    for answer in answers:  # data of one command may arrive with the answer to another
        fault = _take(answer, {uid for order in orders for uid in order.uids}, found) or fault
    told: dict[int, Fetched | str] = {**found}
    for order, answer in zip(orders, answers, strict=True):
        for uid in _doubtful(answer, order.uids, found, fault):
            told.pop(uid, None)
            if (alone := _alone(wire, uid, order.words()[1])) is not None:
                told[uid] = alone
    return told


def _doubtful(answer: Answer, uids: Sequence[int], found: dict[int, Fetched], fault: str) -> list[int]:
    """Return the UIDs to fetch individually: incomplete ones, and those missing without explanation."""
    is_missing = bool(fault) or (answer.status != "OK" and answer.code != _GONE)
    return [uid for uid in uids if (not found[uid].is_whole if uid in found else is_missing)]


def _alone(wire: Wire, uid: int, asked: bytes) -> Fetched | str | None:
    """Fetch one message; return a string if the server cannot show it, None if it was removed."""
    answer = wire.finish(wire.send(b"UID", b"FETCH", b"%d" % uid, asked), may_refuse=True)
    found: dict[int, Fetched] = {}
    fault = _take(answer, {uid}, found)
    if uid in found:
        return found[uid]
    if fault:
        return Fetched(uid, fault=fault)
    return None if answer.status == "OK" or answer.code == _GONE else "the server cannot show it"


def _take(answer: Answer, uids: set[int], found: dict[int, Fetched]) -> str:
    """Collect the requested messages; a server may also report flags changed by other clients.

    Returns:
        why a message could not be parsed; empty if all could.
    """
    fault = ""
    for one in fetched(answer):
        if one.uid == UNKNOWN:
            fault = one.fault or fault
            continue
        before = found.get(one.uid)
        if one.uid in uids and (before is None or (one.sections and not before.sections)):
            found[one.uid] = one
    return fault
