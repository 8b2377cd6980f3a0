"""Wait notices of commands: after a second, and the ``--timeout`` that ends a wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import click

from hub.cli.errors import CommandError, Exit

NOTICE_S: Final = 1.0
WAITS_FOR: Final = "hub.waits_for"  # key of ctx.meta
_SOON_S: Final = 0.05  # 0 would be no second alarm


@contextmanager
def waits_for(reason: str) -> Iterator[None]:
    """Name what the command waits for in the block; an empty text: nothing that has to be said."""
    meta = click.get_current_context().meta
    before, meta[WAITS_FOR] = meta.get(WAITS_FOR), reason
    try:
        yield
    finally:
        meta[WAITS_FOR] = before


def set_alarm(ctx: click.Context, _: click.Parameter, timeout_s: float | None) -> None:
    """Report what the command waits for, and end it after *timeout_s*; callback of an option."""
    is_main = threading.current_thread() is threading.main_thread()
    if ctx.resilient_parsing or not (is_main and hasattr(signal, "setitimer")):  # a completion; Windows
        return

    def on_notice(*_: Any) -> None:
        signal.signal(signal.SIGALRM, on_end)
        if reason := ctx.meta.get(WAITS_FOR):
            from hub.cli import show  # imported late, so that hub --help stays fast

            show.report(f"waiting for {reason}")

    def on_end(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        reason = f"; it waits for {ctx.meta[WAITS_FOR]}" if ctx.meta.get(WAITS_FOR) else ""
        next_step = "what it has begun in the hub goes on"
        raise CommandError(f"not done after {timeout_s:g} s{reason}", Exit.TRY_AGAIN, next_step=next_step)

    ctx.call_on_close(partial(signal.setitimer, signal.ITIMER_REAL, 0))
    signal.signal(signal.SIGALRM, on_notice)
    rest_s = 0 if timeout_s is None else max(_SOON_S, timeout_s - NOTICE_S)
    signal.setitimer(signal.ITIMER_REAL, NOTICE_S, rest_s)
