"""The load client in C (``client.c``), compiled into a cache folder where there is a C compiler."""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from protocol.codec import JSON
from protocol.frame import PATH
from protocol.handshake import Capability, DeviceHello
from tests.bench.payloads import RESULT
from tests.bench.wire import PrefixWire, WebSocketWire, Wire
from tests.support.programs import cache_folder

SOURCE: Final = Path(__file__).with_name("client.c")
_ID: Final = b"?" * 34  # of a call, as ``call_ids`` makes them


@cache
def binary() -> Path | None:
    """Compile the client, unless that was done before. None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    folder = cache_folder("bench")
    built = folder / f"client-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{built.name}-{os.getpid()}"
        ended = subprocess.run([compiler, "-O2", "-o", unfinished, SOURCE], check=False, capture_output=True)
        if ended.returncode != 0:
            return None
        unfinished.rename(built)
    return built


def command(client: Path, *, port: int, devices: int, is_prefixed: bool, pause_ms: int) -> list[str]:
    """Return the command line of the compiled *client*."""
    wire: Wire = PrefixWire() if is_prefixed else WebSocketWire(PATH)
    hello = DeviceHello(token="hub_bench_%08d", capabilities=[Capability(name="agent_data.credit")])
    answer = b'{"type":"tool_result","id":"%s","result":%s}' % (_ID, RESULT)
    kind = "raw" if is_prefixed else "ws"
    opening, greeting = wire.opening().decode(), JSON.encode(hello).decode()
    return [str(client), str(port), str(devices), kind, opening, greeting, answer.decode(), str(pause_ms)]
