"""Checks of agents' questions that wait for a person."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hub.clock import epoch_ms, from_epoch_ms
from hub.health.issues import Check, Finding, notice
from storage.coordination import questions
from storage.store import Store

PATIENCE: Final = timedelta(days=1)


def check_questions(store: Store) -> Check:
    """Return the check for questions that a user has not answered for more than a day."""

    async def look(now: datetime) -> Iterable[Finding]:
        return [
            notice(
                "question.waits",
                f"{_many(one.count)} for an answer of {one.user} since {from_epoch_ms(one.since):%Y-%m-%d}",
                fix="hub ask lists them; hub ask answer QUESTION TEXT answers, hub ask withdraw takes back",
                subject=one.user_id,
                user_id=one.user_id,
                since=from_epoch_ms(one.since),
            )
            for one in await store.read(questions.waiting_since, epoch_ms(now - PATIENCE))
        ]

    return look


def _many(count: int) -> str:
    return "a question waits" if count == 1 else f"{count} questions wait"
