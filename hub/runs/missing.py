"""Description of the parts of a file that could not be extracted. Pure functions.

The extracted parts are kept. The file still counts as failed, so that the failure is reported and the next
run reads the file again. Questions that are already answered cost nothing then.
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
    """Reason for the failure of a file that was read."""

    code: ErrorCode
    message: str


def missing_of(notes: Notes) -> Missing | None:
    """Return what is missing according to the notes on the reading, or None if nothing is."""
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
