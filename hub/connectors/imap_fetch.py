"""Asking for many messages at once, and for one of them alone where the server cannot show it.

What cannot be understood of an answer is one message's fault: those that are missing are asked for alone,
so that the one is known by its UID and the others are read.

A message that was removed meanwhile is left out of the answer, or shown with nothing in it that one time
(dovecot: NIL, and ``EXPUNGEISSUED``); who is asked for it again by itself leaves it out.
"""

from collections.abc import Sequence
from typing import Final

from hub.connectors.imap_bodies import Order
from hub.connectors.imap_parts import UNKNOWN, Fetched, fetched
from hub.connectors.imap_wire import Answer, Wire
from hub.connectors.imap_words import set_of

_GONE: Final = "EXPUNGEISSUED"
_AT_ONCE: Final = 25  # messages in one FETCH of heads


def fetch_all(wire: Wire, uids: Sequence[int], asked: bytes) -> dict[int, Fetched]:
    """What the server tells of them; those that are gone are not in it, one that it cannot show is bare."""
    found: dict[int, Fetched] = {}
    doubtful: list[int] = []
    # In a few commands, all sent at once: one answer is understood while the server makes the next.
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
    """By UID: what was fetched, or why it could not be. All orders are sent before the first is answered."""
    found: dict[int, Fetched] = {}
    tags = [wire.send(b"UID", b"FETCH", *order.words()) for order in orders]
    answers = [wire.finish(tag, may_refuse=True) for tag in tags]
    fault = ""
    for answer in answers:  # what belongs to one order may come while another is answered
        fault = _take(answer, {uid for order in orders for uid in order.uids}, found) or fault
    told: dict[int, Fetched | str] = {**found}
    for order, answer in zip(orders, answers, strict=True):
        for uid in _doubtful(answer, order.uids, found, fault):
            told.pop(uid, None)
            if (alone := _alone(wire, uid, order.words()[1])) is not None:
                told[uid] = alone
    return told


def _doubtful(answer: Answer, uids: Sequence[int], found: dict[int, Fetched], fault: str) -> list[int]:
    """Those that have to be asked for alone: others are there, or are gone."""
    is_missing = bool(fault) or (answer.status != "OK" and answer.code != _GONE)
    return [uid for uid in uids if (not found[uid].is_whole if uid in found else is_missing)]


def _alone(wire: Wire, uid: int, asked: bytes) -> Fetched | str | None:
    """One message; or why the server cannot show it; ``None``: it is gone."""
    answer = wire.finish(wire.send(b"UID", b"FETCH", b"%d" % uid, asked), may_refuse=True)
    found: dict[int, Fetched] = {}
    fault = _take(answer, {uid}, found)
    if uid in found:
        return found[uid]
    if fault:
        return Fetched(uid, fault=fault)
    return None if answer.status == "OK" or answer.code == _GONE else "the server cannot show it"


def _take(answer: Answer, uids: set[int], found: dict[int, Fetched]) -> str:
    """Take what was asked for: a server may also tell of flags that somebody else changes.

    Returns why one of them could not be understood; empty: all were.
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
