"""The hub starts without its optional extras."""

import subprocess
import sys

EXTRAS = (
    "asyncpg",
    "greenlet",
    "sqlalchemy.ext.asyncio",
    "nats",
    "kreuzberg",
    "xllamacpp",
    "uvloop",
    "rapidocr",
    "mcp",
)


def test_hub_modules_can_be_imported_without_extras() -> None:
    missing = "; ".join(f"sys.modules[{name!r}] = None" for name in EXTRAS)
    program = f"import sys; {missing}; import hub.app.hub, hub.app.daemon, hub.cli.app, hub.cli.upkeep"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[-500:]) == (0, "")
