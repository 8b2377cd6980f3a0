import pytest
import sqlalchemy as sa

from storage.devices.idempotency import StoredResponse, find_answer, keep_answer
from storage.kernel.database import Conflict
from tests.storage.rows import AT


def test_first_idempotency_answer_of_a_key_is_returned(c: sa.Connection) -> None:
    first = keep_answer(c, "runs", "key-1", request_hash="h", response={"run": "run-1"}, at=AT)
    again = keep_answer(c, "runs", "key-1", request_hash="h", response={"run": "run-2"}, at=AT)
    assert first == again == find_answer(c, "runs", "key-1") == StoredResponse("h", {"run": "run-1"})
    assert find_answer(c, "tokens", "key-1") is None


def test_key_used_for_another_request_is_a_conflict(c: sa.Connection) -> None:
    keep_answer(c, "runs", "key-1", request_hash="h", response=None, at=AT)
    with pytest.raises(Conflict, match="key-1"):
        keep_answer(c, "runs", "key-1", request_hash="other", response=None, at=AT)
