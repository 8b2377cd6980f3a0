"""Instants of the rows as views tell them."""

from datetime import datetime

from hub.clock import from_epoch_ms


def moment(at: int | None) -> datetime | None:
    """An instant of a row, where there is one."""
    return None if at is None else from_epoch_ms(at)
