"""Two answers to one question, given at two hubs at the same moment. PostgreSQL alone."""

import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from storage.coordination import question_rows, questions
from storage.kernel.database import Database
from tests.storage.jobs import while_the_other_waits
from tests.storage.test_agents_side_by_side import refusal
from tests.storage.test_questions import a_board, ask, remembered, reply, said
from tests.support.postgres import Postgres


def a_question(c: sa.Connection) -> None:
    a_board(c)
    ask(c)


async def test_of_two_answers_at_two_hubs_one_counts_and_the_other_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: questions.answer(c, "q-1", said("Red.")),
        refusal(CodedError, lambda c: questions.answer(c, "q-1", said("Blue.", by="device:d"))),
    )
    assert (await hubs[0].read(question_rows.get_question, "q-1")).answer == "Red."
    assert [item.content for item in await hubs[0].read(remembered)] == ["Red."]


async def test_an_item_that_comes_with_another_answer_is_an_item_alone(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    replied = await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: questions.answer(c, "q-1", said("Red.")),
        lambda c: reply(c, agent_id=None, reply_to="q-1"),
    )
    assert (replied, {item.content for item in await hubs[0].read(remembered)}) == (None, {"Red.", "Green."})


async def test_of_two_questions_asked_at_the_same_moment_the_one_too_many_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_board)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: ask(c, "q-1", most=1),
        refusal(ErrorCode.LIMIT_REACHED, lambda c: ask(c, "q-2", most=1)),
    )
