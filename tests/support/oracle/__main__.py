"""``python -m tests.support.oracle --port N --traits JSON``: an oracle for scenarios; see ``/stats``."""

import argparse
import json
from typing import Any

import anyio

from tests.support.oracle.server import Oracle
from tests.support.oracle.traits import Fault


async def main(port: int, traits: dict[str, Any], faults: list[str]) -> None:
    """Serve until the process is ended; says so on standard output when it is ready."""
    oracle = Oracle(**traits).play(*map(Fault, faults))
    oracle.keeps_requests = False
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(lambda *, task_status: oracle.serve(port=port, task_status=task_status))
        print("READY", base_url, flush=True)  # noqa: T201  # whoever started us waits for this line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--traits", type=json.loads, default={}, help="fields of Traits, as JSON")
    parser.add_argument("--fault", action="append", default=[], choices=list(Fault))
    chosen = parser.parse_args()
    anyio.run(main, chosen.port, chosen.traits, chosen.fault)
