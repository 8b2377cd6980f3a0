"""A person is told that somebody waits for their answer, once that has taken a day."""

from datetime import timedelta

from hub.clock import epoch_ms
from hub.health.issues import Severity
from hub.health.people import check_questions
from storage.coordination import questions
from storage.store import open_store
from tests.storage.rows import ME
from tests.storage.test_questions import DAY, a_board, ask, said
from tests.support.clock import START


async def test_questions_that_wait_longer_than_a_day_are_told_once_a_person() -> None:
    async with open_store("sqlite://") as store:
        asked_at = epoch_ms(START)
        await store.write(lambda c: a_board(c) and None)
        for id in ("q-0", "q-1"):
            await store.write(ask, id, at=asked_at, expires_at=asked_at + 9 * DAY)
        look = check_questions(store)
        assert list(await look(START + timedelta(hours=23))) == []
        (found,) = await look(START + timedelta(hours=25))
        assert (found.id, found.severity, found.user_id, found.since) == (
            "question.waits",
            Severity.NOTICE,
            ME,
            START,
        )
        assert found.explanation == "2 questions wait for an answer of me since 2026-01-05"
        await store.write(questions.answer, "q-0", said())
        await store.write(questions.answer, "q-1", said(at=asked_at))
        assert list(await look(START + timedelta(hours=25))) == []
