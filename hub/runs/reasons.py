"""Sentences for people about the reason of a run's state change or unsuccessful end.

Pure functions from the stable words of rows (``runs.reason``) to sentences. Any other reason was written for
people already, and is shown unchanged.
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


def describe_reason(reason: str | None, *, within_s: float | None = None) -> str | None:
    """Return a reason as a sentence, such as ``not started within 30 s of its time``.

    Args:
        within_s: start deadline in seconds after the run's time, if it had one.
    """
    if reason == "start_deadline" and within_s is not None:
        return f"not started within {within_s:g} s of its time"
    return None if reason is None else _REASONS.get(reason, reason)


def describe_errors(errors: Sequence[RunError], *, failed: int) -> str | None:
    """Summarize the errors of a run by code: ``3 failed: 2 too_large, 1 file_changed``.

    Args:
        errors: the stored errors; only the first errors of a run are stored.
        failed: total number of failed files or messages.
    """
    codes = Counter(error.code for error in errors if error.unit_key)
    counted = [f"{count} {code}" if len(codes) > 1 else code for code, count in codes.most_common()]
    recorded = codes.total()
    first = f"{failed} failed" + (f"; the first {recorded}" if 0 < recorded < failed else "")
    of_units = ": ".join(filter(None, (first if failed else "", ", ".join(counted))))
    of_run = dict.fromkeys(error.code for error in errors if not error.unit_key)
    return "; ".join(filter(None, (of_units, *of_run))) or None
