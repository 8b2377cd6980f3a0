"""A real hub and a real device, as processes, with the oracle as a third one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.scenarios.scene import Scene, rows, scene
from tests.support.oracle import Oracle
from tests.support.oracle.process import OracleProcess
from tests.support.processes import POLL_S, model_at

RUN_S = 900.0  # that a run may take


@asynccontextmanager
async def played(
    folder: Path,
    files: Mapping[str, str],
    oracle: Oracle | OracleProcess,
    *,
    model: str = "",
    settings: str = "",
) -> AsyncIterator[Scene]:
    """The device is connected when the block begins.

    Args:
        model: more lines of ``[model]``.
        settings: more tables of hub.toml.
    """
    async with scene(folder, files, settings=model_at(oracle.base_url) + model + settings) as play:
        await play.device.start()
        await play.has_connected()
        yield play


async def run(play: Scene, *, every_s: float = POLL_S) -> dict[str, Any]:
    """A run of the agent, once it has ended; the hub is asked about it *every_s* seconds."""
    return await play.hub.ended(await play.hub.start_run(), within_s=RUN_S, every_s=every_s)


def titles(play: Scene) -> list[str]:
    """Of every task the device has, one entry for each row."""
    return [title for (title,) in rows(play.device.database, "SELECT title FROM tasks")]
