from typing import get_args

from protocol.work import MARKS, Mark


def test_each_mark_of_an_item_has_a_sentence_for_its_reviewer() -> None:
    assert MARKS.keys() == set(get_args(Mark))
