"""``python -m tests.fuzz``: random input before every reader of foreign text, from a seed.

Exit code 1 when a reader raises what its callers do not know, or takes too long.
"""

import argparse
import asyncio
import math
import random
import resource
import signal
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic, process_time
from types import FrameType
from typing import Any, Final

from tests.fuzz.targets import TARGETS, Target

_HUNG: Final = 10  # times the bound
_MAX_SHOWN: Final = 3


class Hung(BaseException):
    """Error: a call does not end."""


async def attack(
    name: str,
    target: Target,
    *,
    seed: int,
    first: int = 0,
    cases: int | None = None,
    seconds: float = math.inf,
) -> int:
    """Try so many cases, or for *seconds*, print what came of them, and return the number of faults."""
    refused = crashes = slow = 0
    longest_s, longest_case = 0.0, first
    async with target.opened() as call:
        with suppress(*target.refused):  # what is imported with the first call is not measured
            await call(target.make(random.Random(f"{seed}:first")))
        end = monotonic() + seconds
        number = first
        while number - first != cases and monotonic() < end:
            case: Any = target.make(random.Random(f"{seed}:{number}"))
            signal.setitimer(signal.ITIMER_PROF, _HUNG * target.bound_s)
            began = process_time()
            try:
                await call(case)
            except target.refused:
                refused += 1
            except (Exception, Hung):
                crashes += 1
                if crashes <= _MAX_SHOWN:
                    print(f"CRASH {name!r}, seed {seed}, case {number}: {case!r:.300}")
                    traceback.print_exc(-4, sys.stdout)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            took_s = process_time() - began
            if took_s > target.bound_s:
                slow += 1
                print(f"SLOW {name!r}, seed {seed}, case {number}: {took_s:.2f} s of CPU time")
            longest_s, longest_case = max((longest_s, longest_case), (took_s, number))
            number += 1
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    longest = f"longest {longest_s * 1e3:.1f} ms (case {longest_case}, bound {target.bound_s * 1e3:.0f})"
    print(f"{name:18} {number - first:9,} cases, {refused:9,} refused, {crashes} crashes; {longest}", end="")
    print(f"; peak RSS {peak_mib:.0f} MiB", flush=True)
    return crashes + slow


def _hung(_: int, frame: FrameType | None) -> None:
    raise Hung


def _apart(chosen: argparse.Namespace, name: str) -> int:
    """Try a target in a process of its own, for its peak of memory."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--seed", str(chosen.seed)]
    ended = subprocess.run([*command, "--seconds", str(chosen.seconds)], check=False, stdout=subprocess.PIPE)
    sys.stdout.write(ended.stdout.decode())
    sys.stdout.flush()
    return ended.returncode


def main() -> int:
    """Try one target, or each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS, help="by default all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="try this one alone")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.target is None:
        with ThreadPoolExecutor(chosen.jobs) as pool:
            faulty = sum(map(bool, pool.map(partial(_apart, chosen), TARGETS)))
        print(
            f"{len(TARGETS)} readers for {chosen.seconds:g} s from seed {chosen.seed}: {faulty} with faults"
        )
        return int(faulty > 0)
    signal.signal(signal.SIGPROF, _hung)
    span = {"seconds": chosen.seconds} if chosen.case is None else {"first": chosen.case, "cases": 1}
    return int(asyncio.run(attack(chosen.target, TARGETS[chosen.target], seed=chosen.seed, **span)) > 0)


if __name__ == "__main__":
    sys.exit(main())
