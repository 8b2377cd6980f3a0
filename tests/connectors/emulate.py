"""The npm package ``emulate``: Gmail and Google's OAuth as others understood them, in a process of its own.

It takes any bearer token and never forgets history: ``StrictGoogle`` stands before it and is strict.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from tests.connectors.prism import SOFTWARE
from tests.gateways.rig import free_port

CLIENT_ID: Final = "hub.apps.googleusercontent.com"
CLIENT_SECRET: Final = "GOCSPX-of-the-test"
REDIRECT: Final = "http://127.0.0.1:8765/cb"
ME: Final = "me@example.com"

_ENTRY: Final = "node_modules/emulate/dist/index.js"
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.05
_SEED: Final = f"""\
google:
  users: [{{email: {ME}, name: Me}}]
  oauth_clients:
    - {{client_id: {CLIENT_ID}, client_secret: {CLIENT_SECRET}, redirect_uris: ["{REDIRECT}"]}}
  messages:
    - {{id: msg_a, user_email: {ME}, from: "Ann <ann@acme.test>", to: {ME}, subject: "Invoice 1",
       body_text: "Please pay by Friday", label_ids: [INBOX, UNREAD], date: "2026-11-18T10:00:00Z"}}
    - {{id: msg_b, user_email: {ME}, from: "Bob <bob@acme.test>", to: {ME}, subject: "Lunch",
       body_html: "<p>Lunch <b>Tuesday</b>?</p>", label_ids: [INBOX], date: "2026-11-17T10:00:00Z"}}
"""


def why_no_emulate() -> str | None:
    """Why it cannot be used here; ``None``: it can."""
    home = os.environ.get(SOFTWARE)
    if home is None:
        return "needs the npm package emulate: make connector-check"
    if shutil.which("node") is None or not (Path(home) / _ENTRY).exists():
        return f"{home} has no emulate, or there is no Node.js"
    return None


@asynccontextmanager
async def running_emulate(folder: Path) -> AsyncIterator[str]:
    """A seeded emulate; gives its base URL."""
    entry = Path(os.environ[SOFTWARE]) / _ENTRY
    seed = folder / "seed.yaml"
    seed.write_text(_SEED, encoding="utf-8")
    port = free_port()
    command = ["node", str(entry), "start", "--service", "google", "--port", str(port), "--seed", str(seed)]
    with (folder / "emulate.log").open("wb") as log:
        process = await anyio.open_process(command, stdout=log, stderr=log)
    async with process:
        try:
            with anyio.fail_after(_PATIENCE_S):
                while not await _listens(port):
                    assert process.returncode is None, (folder / "emulate.log").read_text()[-2_000:]
                    await anyio.sleep(_POLL_S)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


async def _listens(port: int) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True
