"""``python -m tests.gateways [SCENE ...]``: drive every verb against a real OpenClaw gateway.

The gateway is installed into a cache folder (npm is needed once), runs on a free loopback port
with a scripted model behind it, and is gone afterwards. One line per thing shown; exit code 1
when one of them is not so, 69 when the gateway cannot be installed.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

import anyio

from tests.evaluation.figures import Figure, are_met, exactly, only
from tests.gateways.place import Place, gateway_place
from tests.gateways.software import OPENCLAW, Software, install
from tests.support.programs import CannotInstall, cache_folder

_FAILED, _UNAVAILABLE = 1, 69


class Scene(NamedTuple):
    """What it is about, and where it is written. The hub is started for those that need it."""

    title: str
    module: str
    function: str = "measure"
    needs_hub: bool = True

    async def measure(self, place: Place) -> list[Figure]:
        """Its figures."""
        function: Callable[[Place], Awaitable[list[Figure]]] = getattr(
            import_module(f"tests.gateways.{self.module}"), self.function
        )
        return await function(place)


# In this order: after the last one the gateway asks its provider nothing for ten minutes.
SCENES: Final = {
    "client": Scene("the hub's client, alone", "clients", needs_hub=False),
    "nudge": Scene("nudges: idle agent, busy agent, gateway killed", "nudges"),
    "soul": Scene("SOUL.md: read, written, two writers", "soul_files"),
    "ask": Scene("a lead asks its person through the main agent", "asking"),
    "leads": Scene("leads: made once, told something, many at once", "leads"),
    "status": Scene("busy, idle, exhausted, offline", "status"),
    "breaks": Scene("each verb, with the gateway, the hub or the wire breaking", "breaks"),
    "refusals": Scene("what a gateway refuses, as who asked is told", "refusals"),
    "hidden": Scene("no token where it does not belong", "hidden"),
    "billing": Scene("no credit any more", "status", "measure_billing"),
}


def main() -> int:
    """Install, play, judge."""
    options = _options()
    print(f"OpenClaw {OPENCLAW}: installing into {options.cache}, unless it is there", flush=True)
    began = perf_counter()
    try:
        software = install(options.cache)
    except CannotInstall as missing:
        print(f"gateway-check: {missing}", file=sys.stderr)
        return _UNAVAILABLE
    print(only("installed [s]", perf_counter() - began, ".1f").line, flush=True)
    with ExitStack() as stack:
        kept = options.keep
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-check-")))
        folder.mkdir(parents=True, exist_ok=True)
        return 0 if anyio.run(_play, software, folder, options.scenes) else _FAILED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gateways", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"some of: {' '.join(SCENES)}")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder("gateway-check"), help="folder of OpenClaw"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="play here and leave logs and databases")
    options = parser.parse_args()
    if unknown := set(options.scenes) - SCENES.keys():
        parser.error(f"no such scene: {' '.join(sorted(unknown))}; there are: {' '.join(SCENES)}")
    return options


async def _play(software: Software, folder: Path, wanted: list[str]) -> bool:
    results: list[Figure] = []
    began = perf_counter()
    async with gateway_place(software, folder, _tell) as place:
        _tell(only("gateway up [s]", perf_counter() - began, ".1f").line)
        _tell(only("its memory [MB]", place.gateway.resident_mb(), ".0f").line)
        place.hub = place.open_hub()
        try:
            for name, scene in SCENES.items():
                if not wanted or name in wanted:
                    results.append(await _played(place, name, scene))
        finally:
            await place.hub.close()
    _tell("\nscene, and how many of its figures are as they must be")
    _tell("\n".join(result.line for result in results))
    _tell(f"{sum(result.is_met for result in results)} of {len(results)} scenes are as they must be")
    return are_met(results)


async def _played(place: Place, name: str, scene: Scene) -> Figure:
    """Print the figures of a scene, and return how many of them are as they must be."""
    print(f"\n{name}: {scene.title}", flush=True)
    began = perf_counter()
    try:
        if scene.needs_hub:
            await place.mend()
        figures = await scene.measure(place)
    except Exception:  # the others are played nevertheless
        traceback.print_exc()
        return Figure(scene.title, "broken", "no error", is_met=False)
    print(*(figure.line for figure in figures), sep="\n")
    print(f"  ({perf_counter() - began:.0f} s)", flush=True)
    judged = [figure for figure in figures if figure.bar]
    return exactly(scene.title, sum(figure.is_met for figure in judged), len(judged))


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
