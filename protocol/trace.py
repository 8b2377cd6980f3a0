"""Traces: what belongs to one run, for whoever follows it across processes (W3C Trace Context, 3.2).

A run is a trace, and both its id and the ids of its spans are read off what they are
about: nothing is kept for them, and each restart of either end comes to the same.
"""

import hashlib
import re
from typing import Final

from protocol.ids import RunId

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_VERSION: Final = "00"
_SAMPLED: Final = "01"


def trace_id_of(run_id: RunId) -> str:
    """The trace of a run, 32 hexadecimal digits: its own id without hyphens, where that is a UUID."""
    if _UUID.match(run_id):
        return run_id.replace("-", "")
    return _digest(16, run_id)


def traceparent(run_id: RunId, *about: str) -> str:
    """What a frame of the run bears as ``trace``: the run's trace, and the span of what it is *about*."""
    return traceparent_of(trace_id_of(run_id), *about)


def traceparent_of(trace_id: str, *about: str) -> str:
    """The same for a trace that is no run's."""
    return f"{_VERSION}-{trace_id}-{_digest(8, *about)}-{_SAMPLED}"


def _digest(size: int, *parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
