"""Pictures of the README: the page where an owner decides, and the same items in a terminal.

``make pictures`` writes them into ``hub/docs/pictures``. The program itself makes what they show: ``hub up``
over the sample folder of the demo, in a home of its own.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import async_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from hub.base.clock import SystemClock
from hub.cli.inbox import TerminalInbox
from hub.device.inbox import Inbox
from tests.support.browser import chromium
from tests.support.programs import free_port
from tests.support.source import ROOT

FOLDER: Final = ROOT / "hub" / "docs" / "pictures"
COLUMNS, ROWS = 96, 22
WINDOW: Final = {"width": 1120, "height": 640}
LINK: Final = re.compile(r"http://\S+/login/review#\S+")
# A picture asks no server for its letters.
FORM: Final = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    """Write both pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        shutil.copytree(ROOT / "hub" / "cli" / "sample", home / "notes")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "HUB__LISTEN__DEVICES__ADDRESS": f"127.0.0.1:{free_port()}",
            "HUB__LISTEN__OPERATOR__ADDRESS": f"127.0.0.1:{free_port()}",
        }

        def hub(*words: str) -> str:
            command = [sys.executable, "-m", "hub", *words]
            return subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        try:
            link = LINK.search(hub("up", str(home / "notes"), "--no-browser"))
            assert link is not None
            asyncio.run(_draw_page(link[0]))
            (file,) = home.glob(".local/state/hub/devices/*.db")
            _draw_terminal(file)
        finally:
            hub("down")


async def _draw_page(link: str) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = await browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        await page.goto(link)
        await page.get_by_role("heading", name="Review").wait_for()
        await page.locator("[aria-busy=true]").first.wait_for(state="detached")
        await page.screenshot(path=FOLDER / "review.png")
        await browser.close()


def _draw_terminal(file: Path) -> None:
    inbox = TerminalInbox(Inbox(file), SystemClock())
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115 - for this process
    for line in inbox.lines(COLUMNS, ROWS):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    console.save_svg(str(FOLDER / "terminal.svg"), title="hub review", code_format=FORM)


if __name__ == "__main__":
    main()
