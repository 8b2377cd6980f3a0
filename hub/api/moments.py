"""Conversion of stored instants for views."""

from datetime import datetime

from hub.clock import from_epoch_ms


def moment(at: int | None) -> datetime | None:
    """Convert epoch milliseconds of a row to an aware UTC time; None stays None."""
    return None if at is None else from_epoch_ms(at)
