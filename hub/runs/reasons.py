"""Why a run made a move, as a sentence for a person.

Pure: the stable word of the row goes in (``runs.reason``), a sentence comes out. What is
no such word was written for people already, and is told as it stands.
"""

from typing import Final

_REASONS: Final = {
    "start_deadline": "not started in time",
    "hub_restart": "the hub was ended",
    "crash_loop": "the hub ended again and again while it was under way",
    "paused_too_long": "what it waited for did not come in time",
    "device_gone": "its device is not known any more",
    "superseded": "a newer run takes its place",
}


def told_reason(reason: str | None, *, within_s: float | None = None) -> str | None:
    """``not started within 30 s of its time``, for ``start_deadline``.

    Args:
        within_s: how long after its time the run could have started, where it had to start in time.
    """
    if reason == "start_deadline" and within_s is not None:
        return f"not started within {within_s:g} s of its time"
    return None if reason is None else _REASONS.get(reason, reason)
