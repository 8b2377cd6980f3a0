"""Why a run made a move, and why it ended as less than a success, as a sentence for a person.

Pure: the stable word of the row goes in (``runs.reason``), a sentence comes out. What is
no such word was written for people already, and is told as it stands.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from storage.runs.runs import RunError

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


def told_errors(errors: Sequence[RunError], *, failed: int) -> str | None:
    """Count what a run left out, by the codes of its errors: ``3 failed: 2 too_large, 1 file_changed``.

    Args:
        errors: those that are kept, which are the first ones.
        failed: how many files or messages failed in all.
    """
    codes = Counter(error.code for error in errors if error.unit_key)
    counted = [f"{count} {code}" if len(codes) > 1 else code for code, count in codes.most_common()]
    kept = codes.total()
    first = f"{failed} failed" + (f"; the first {kept}" if 0 < kept < failed else "")
    of_units = ": ".join(filter(None, (first if failed else "", ", ".join(counted))))
    of_run = dict.fromkeys(error.code for error in errors if not error.unit_key)
    return "; ".join(filter(None, (of_units, *of_run))) or None
