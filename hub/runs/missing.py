"""Pure: what of a file did not get through, by the notes on its reading.

What did get through stays. The file counts as failed all the same, so that somebody is
told, and the next run reads it again: what it said already costs nothing then.
"""

from typing import Final, NamedTuple

from hub.extraction.items import Notes
from protocol.errors import ErrorCode

NOT_READ: Final = (
    "it was not read: the run has brought as many items as one may (items_per_run of [limits]); "
    "the next run goes on with it"
)
_NEXT: Final = {
    "items_per_file": "; raise it, or split the file",
    "items_per_run": "; the next run brings them",
}


POSTPONED: Final = "what no rule reads in it waits for the model"


class Missing(NamedTuple):
    """Why a file failed that was read."""

    code: ErrorCode
    message: str


def missing_of(notes: Notes) -> Missing | None:
    """What is missing; ``None`` when nothing is."""
    if notes.given_up_chars:
        return Missing(
            ErrorCode.MODEL_ANSWER_CUT_OFF,
            f"no whole answer could be had about {notes.given_up_chars} characters of it; the rest was read",
        )
    if notes.lost:
        return Missing(
            ErrorCode.MODEL_ANSWER_INVALID,
            f"{notes.lost} of the model's records about it could not be used, nor could its second answer "
            "about them be read; the rest was read",
        )
    if notes.left_out:
        ((cap, count),) = notes.left_out.items()
        return Missing(
            ErrorCode.LIMIT_REACHED,
            f"{count} of its items were left out, by {cap} of [limits]" + _NEXT[cap],
        )
    return None
