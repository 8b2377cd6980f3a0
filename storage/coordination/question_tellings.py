"""Record of the devices that know a question: each is notified once of it, and once of its end.

A row says that the device confirmed. The call that notifies it has a derived id. If a hub dies before it
writes the row, the device is notified again under the same id, and applies it once.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import DeviceId, QuestionId
from storage.coordination.question_rows import IS_OPEN, IS_SETTLED, QUESTIONS, QuestionRow, question_in
from storage.kernel.columns import in_parts
from storage.schema import devices, question_tellings, questions


class Due(msgspec.Struct, frozen=True):
    """Notification due to a device: a new question, or its end."""

    question: QuestionRow
    is_settled: bool


_device: sa.BindParameter[str] = sa.bindparam("device")
_listed = devices.c.id.in_(sa.bindparam("listed", expanding=True))
_is_told = sa.exists().where(
    question_tellings.c.question_id == questions.c.id, question_tellings.c.device_id == devices.c.id
)
# Devices whose users have an open question, or an end of one, that they were not notified of.
NOT_ASKED = (
    sa.select(devices.c.id)
    .where(
        _listed,
        sa.exists().where(questions.c.user_id == devices.c.user_id, sa.text(IS_OPEN), sa.not_(_is_told)),
    )
    .order_by(devices.c.id)
)
NOT_CLOSED = (
    sa.select(question_tellings.c.device_id)
    .join_from(question_tellings, questions, questions.c.id == question_tellings.c.question_id)
    .where(
        question_tellings.c.device_id.in_(sa.bindparam("listed", expanding=True)),
        question_tellings.c.closed_at.is_(None),
        sa.text(IS_SETTLED),
    )
    .distinct()
)
TO_ASK = (
    QUESTIONS.join(devices, sa.and_(devices.c.user_id == questions.c.user_id, devices.c.id == _device))
    .where(sa.text(IS_OPEN), sa.not_(_is_told))
    .order_by(questions.c.created_at, questions.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
TO_CLOSE = (
    QUESTIONS.join(question_tellings, question_tellings.c.question_id == questions.c.id)
    .where(
        question_tellings.c.device_id == _device,
        question_tellings.c.closed_at.is_(None),
        sa.text(IS_SETTLED),
    )
    .order_by(questions.c.settled_at, questions.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
KNOWS = sa.select(question_tellings.c.closed_at).where(
    question_tellings.c.question_id == sa.bindparam("question"), question_tellings.c.device_id == _device
)
TELL = sa.insert(question_tellings)
CLOSE = (
    sa.update(question_tellings)
    .where(
        question_tellings.c.question_id == sa.bindparam("question"),
        question_tellings.c.device_id == _device,
        question_tellings.c.closed_at.is_(None),
    )
    .values(closed_at=sa.bindparam("now"))
)


def with_news(c: sa.Connection, device_ids: Sequence[DeviceId]) -> list[DeviceId]:
    """Return the devices that are due a notification about a question."""
    found: set[str] = set()
    for part in in_parts(device_ids):
        for query in (NOT_ASKED, NOT_CLOSED):
            found |= set(c.execute(query, {"listed": list(part)}).scalars())
    return sorted(DeviceId(id) for id in found)


def due_of(c: sa.Connection, device_id: DeviceId, limit: int) -> list[Due]:
    """Return the notifications due to the device: first ends, then new questions, oldest first."""
    given = {"device": device_id, "most": limit}
    ended = [Due(question_in(row), True) for row in c.execute(TO_CLOSE, given)]
    asked = [Due(question_in(row), False) for row in c.execute(TO_ASK, given)]
    return [*ended, *asked][:limit]


def told(c: sa.Connection, due: Due, device_id: DeviceId, at: int) -> None:
    """Record that the device confirmed the notification."""
    given = {"question": due.question.id, "device": device_id}
    if due.is_settled:
        c.execute(CLOSE, given | {"now": at})
    elif c.execute(KNOWS, given).first() is None:
        row = {"question_id": due.question.id, "device_id": device_id, "asked_at": at}
        c.execute(TELL, row)


def known_to(c: sa.Connection, question_id: QuestionId) -> list[DeviceId]:
    """Return the devices that were notified of the question."""
    query = sa.select(question_tellings.c.device_id).where(question_tellings.c.question_id == question_id)
    return [DeviceId(id) for id in c.execute(query.order_by(question_tellings.c.device_id)).scalars()]
