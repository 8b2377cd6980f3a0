"""Trace ids of runs, for following a run across processes (W3C Trace Context, 3.2).

A run is a trace. Its id and the ids of its spans are derived, so nothing is stored, and a restart of either
end yields the same ids.
"""

import hashlib
import re
from typing import Final

from protocol.ids import RunId

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_VERSION: Final = "00"
_SAMPLED: Final = "01"


def trace_id_of(run_id: RunId) -> str:
    """Return the trace id of a run, 32 hexadecimal digits: its own id without hyphens if that is a UUID."""
    if _UUID.match(run_id):
        return run_id.replace("-", "")
    return _digest(16, run_id)


def traceparent(run_id: RunId, *about: str) -> str:
    """Return the ``trace`` of a frame of the run: the run's trace, and the span for *about*."""
    return traceparent_of(trace_id_of(run_id), *about)


def traceparent_of(trace_id: str, *about: str) -> str:
    """Return the ``trace`` of a frame that belongs to no run."""
    return f"{_VERSION}-{trace_id}-{_digest(8, *about)}-{_SAMPLED}"


def _digest(size: int, *parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
