"""Answers about the places of sinks: whether a place fits its rows, and what its owner has agreed to.

A place is asked before its first row is written, and again when the kind or the tables of its sink have
changed. The boxes of ``tick_in`` have the sink ``""``.
"""

import sqlite3
from typing import Final

from hub.device.sinks.target import TargetFailed, Unconfirmed

_STORE: Final = """
INSERT INTO sink_answers VALUES (?, ?, ?, ?)
ON CONFLICT (sink, place, question) DO UPDATE SET is_yes = max(is_yes, excluded.is_yes)
"""


def confirm(db: sqlite3.Connection, sink: str, *answers: tuple[str, str]) -> None:
    """Store places with questions about them that were answered with yes."""
    db.executemany(_STORE, [(sink, place, question, 1) for place, question in answers])


def request_consent(db: sqlite3.Connection, sink: str, error: TargetFailed) -> str:
    """Store what the owner has to agree to, if an error says so; return how the owner agrees."""
    if not isinstance(error, Unconfirmed):
        return ""
    db.execute(_STORE, (sink, error.place, error.matter, 0))
    return f"; if that is meant: hub device sync --agree {sink or 'tick_in'}"


def agree(db: sqlite3.Connection, sink: str) -> int:
    """Agree to all that was asked about the places of a sink; return the number of questions."""
    changes = "UPDATE sink_answers SET is_yes = 1 WHERE sink = ? AND is_yes = 0"
    return db.execute(changes, (sink,)).rowcount


def confirmed(db: sqlite3.Connection, sink: str) -> frozenset[tuple[str, str]]:
    """Return place and question of all that was answered with yes about the places of a sink."""
    query = "SELECT place, question FROM sink_answers WHERE sink = ? AND is_yes"
    return frozenset((place, question) for place, question in db.execute(query, (sink,)))
