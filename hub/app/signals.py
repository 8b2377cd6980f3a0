"""Dispatch of the process's signals while the event loop works."""

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.drain import Drain
from hub.log import Channel

log = Channel(__name__)

STOP: Final = (signal.SIGTERM, signal.SIGINT)


async def serve_signals(
    drain: Drain,
    others: Mapping[signal.Signals, Callable[[], None]],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled: the first SIGTERM or SIGINT drains, the second hurries, the third kills.

    Args:
        others: handlers of the other signals; they must not block.
    """
    with anyio.open_signal_receiver(*STOP, *others) as signals:
        task_status.started()
        is_hurried = False
        async for received in signals:
            if received not in STOP:
                others[received]()
            elif drain.begin():
                log.info("hub.stopping", signal=received.name)
            elif not is_hurried:
                is_hurried = True
                log.info("hub.hurried", signal=received.name)
                drain.hurry()
            else:
                signal.signal(received, signal.SIG_DFL)
                os.kill(os.getpid(), received)
