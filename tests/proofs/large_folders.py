"""A folder of thousands of files, as a new person sees it read: in the terminal, over REST and on the pages.

A run reads 2,000 files at most, and the next run goes on with the rest. Each place that shows the run must
say how many files are read and left, and that it goes on. At the end the device has each check box once.

``python -m tests.proofs.large_folders --files 30000`` types ``hub up`` and ``hub runs`` over that many files.
With ``--page`` the pages are open in Chromium instead, and the hub is killed meanwhile.
"""

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGKILL
from time import perf_counter
from typing import Any, Final

import anyio
import httpx2
from playwright.async_api import Locator, Page
from playwright.async_api import TimeoutError as NotShownError

from tests.scenarios.scene import check_boxes, rows, write
from tests.scenarios.test_up import LINK, OPERATOR, Home, kill
from tests.support.dashboard import Visit, browsing
from tests.support.terminal import PROMPT, terminal

MAX_FILES: Final = 2_000  # of a run, by default
RUN_S: Final = 300.0  # for one run, on a busy machine
ALL_S: Final = 3_600.0  # for all runs of the folder
SENTENCE: Final = re.compile(r"([\d,]+) of ([\d,]+) files read; the next run goes on with ([\d,]+) at once")
GOES_ON: Final = re.compile(r"run goes on, ([\d,]+)/([\d,]+) files")  # of "hub up", which ends before the run
UNCOUNTED: Final = re.compile(
    r"run goes on, 0 files finished.* at most 2,000 files, and the next run goes on"
)
LISTED: Final = re.compile(r"([\d,]+)/([\d,]+) +[\d,]+ +([\d,]+) files? left to run \w+")
FOLLOWED: Final = rf"{SENTENCE.pattern}|with the runs before: ([\d,]+) items"
LOST: Final = "The hub is out of reach"


class Report:
    """Lines of the proof, printed at once, and the numbers of claims and of broken ones."""

    claims = broken = 0

    def claim(self, holds: bool, line: str) -> None:
        """Print a claim, and whether it holds."""
        self.claims += 1
        self.broken += not holds
        sys.stdout.write(f"{'holds ' if holds else 'BROKEN'} {line}\n")
        sys.stdout.flush()


@contextmanager
def person(folder: Path, files: int) -> Iterator[tuple[Home, list[str]]]:
    """Set up the home of a person with *files* notes, and yield it with the titles of all check boxes.

    What ``hub up`` started is ended afterwards, by process id if ``hub down`` fails.
    """
    home = Home(folder)
    (home.notes / "rossi.md").unlink()
    texts, titles = check_boxes(files, each=1)
    write(folder, texts)
    home.environment["PATH"] = f"{Path(sys.executable).parent}:{home.environment['PATH']}"
    try:
        yield home, titles
    finally:
        with suppress(AssertionError):
            home.hub("down")
        for file in home.state.glob("up/*.pid"):
            with suppress(OSError, ValueError):  # it has ended
                pid = int(file.read_text())
                if str(folder) in Path(f"/proc/{pid}/cmdline").read_text():  # no other process has its id
                    os.kill(pid, SIGKILL)


def numbers(pattern: re.Pattern[str], text: str) -> tuple[int, int, int] | None:
    """Return the numbers of files that *text* names: read, in all, left; by default left is the rest."""
    if (match := pattern.search(text)) is None:
        return None
    read, total, *left = (int(number.replace(",", "")) for number in match.groups()[:3])
    return read, total, left[0] if left else total - read


def line_of(text: str, part: str) -> str:
    """Return the first line of *text* with *part*."""
    return next((line.strip() for line in text.splitlines() if part in line), f"nothing with {part!r}")


def all_runs(home: Home) -> list[dict[str, Any]]:
    """Return all runs, the newest first."""
    listed: list[dict[str, Any]] = home.json("runs", "ls", "--limit", "1000")["runs"]
    return listed


def check_up(report: Report, said: str, files: int) -> None:
    """Claim that ``hub up`` tells how many files are read, of how many once counted, and that it goes on."""
    told = numbers(SENTENCE, said) or numbers(GOES_ON, said)
    left = f" ({told[2]:,} left)" if told else ""
    holds = told is not None and (told[1], told[0] + told[2]) == (files, files)
    report.claim(holds or UNCOUNTED.search(said) is not None, f"hub up: {line_of(said, 'goes on')}{left}")


def check_places(report: Report, home: Home, rest: httpx2.Client, run_id: str, told: tuple[int, ...]) -> str:
    """Claim that each place has the numbers *told* of an ended run; return the id of the run that goes on."""

    def left(runs: Sequence[Mapping[str, Any]]) -> str:
        return next((str(run["left_because"]) for run in runs if run["id"] == run_id), "it is not listed")

    run = rest.get(f"/v1/runs/{run_id}").raise_for_status().json()
    listed = rest.get("/v1/runs", params={"limit": 1000}).raise_for_status().json()["runs"]
    row = line_of(home.hub("runs", "ls", "--limit", "1000"), run_id[-8:])
    report.claim(numbers(LISTED, row) == told, f"hub runs ls: {row}")
    sentences = {
        "hub runs show": line_of(home.hub("runs", "show", run_id[-8:]), "files read;"),
        "hub runs ls --json": left(all_runs(home)),
        "GET /v1/runs": left(listed),
        "GET /v1/runs/RUN": str(run["left_because"]),
    }
    for place, line in sentences.items():
        report.claim(numbers(SENTENCE, line) == told, f"{place}: {line}")
    settled, follower = (
        run["units_done"] + run["units_skipped"] + run["units_failed"],
        str(run["followed_by"]),
    )
    agree = (settled, run["units_total"], run["units_left"]) == told and run["units_done"] <= MAX_FILES
    is_named = f"left to run {follower[-8:]}" in row and follower in {each["id"] for each in listed}
    counts = f"{run['units_done']:,} read, {run['units_skipped']:,} skipped, {run['units_left']:,} left"
    report.claim(
        agree and is_named, f"GET /v1/runs/RUN: {counts}; followed by {follower[-8:]}, which is listed"
    )
    return follower


def check_end(report: Report, home: Home, titles: Sequence[str], began: float) -> None:
    """Claim that all runs have ended with an item for each check box, and that the device has each once."""
    runs, (device,) = all_runs(home), (home.state / "devices").glob("*.db")
    items = sum(run["items_created"] for run in runs)
    is_whole = items == len(titles) and runs[0]["units_left"] == 0
    report.claim(is_whole, f"{len(runs)} runs, {items:,} items, {perf_counter() - began:.0f} s")
    found = Counter(title for (title,) in rows(device, "SELECT title FROM tasks"))
    lost, more = (Counter(titles) - found).total(), (found - Counter(titles)).total()
    report.claim(lost == more == 0, f"{found.total():,} rows on the device: {lost} lost, {more} too many")


async def play_terminal(report: Report, folder: Path, files: int) -> None:
    """Follow the runs of ``hub up`` in the terminal; compare the other places at the end of each run."""
    with person(folder, files) as (home, titles):
        began = perf_counter()
        async with terminal(home.folder, home.environment) as shell:
            shell.type("hub up notes")
            await shell.shows(PROMPT, within_s=RUN_S)
            check_up(report, shell.shown, files)
            token = home.json("token", "create", "--role", "viewer", "--name", "proof")["token"]
            address, headers = f"http://{home.environment[OPERATOR]}", {"authorization": f"Bearer {token}"}
            run_id, before = all_runs(home)[-1]["id"], files
            shell.type(f"hub runs show {run_id[-8:]} --follow")
            says_more = partial(shell.shows, FOLLOWED, within_s=RUN_S)
            with httpx2.Client(base_url=address, headers=headers, timeout=60.0) as rest:
                while told := numbers(SENTENCE, (seen := await says_more())[0]):
                    holds = (told[1], told[0] + told[2]) == (files, files) and told[2] < before
                    report.claim(holds, f"hub runs show --follow: {seen[0]}")
                    run_id = check_places(report, home, rest, run_id, told)
                    if before == files and told[2] > MAX_FILES:  # a run that takes some time goes on
                        check_up(report, home.hub("up"), files)
                    before = told[2]
            report.claim(seen[4] == f"{files:,}", f"hub runs show --follow: {seen[0]}")
            await shell.shows(PROMPT)
        check_end(report, home, titles, began)


@asynccontextmanager
async def open_pages(link: re.Match[str], run_id: str) -> AsyncIterator[Mapping[str, Page]]:
    """Sign in with the link of ``hub up``, and open the pages in windows of their own."""
    async with browsing() as browser:
        context = await browser.new_context()
        entrance = await context.new_page()
        await entrance.goto(link[0])
        await entrance.locator("main h1").wait_for()
        pages = {"Runs": "runs", "of the run": f"runs/{run_id}", "Sources": "sources"}
        visits = {name: Visit(context, await context.new_page(), link[1]) for name in pages}
        for name, visit in visits.items():
            await visit.open(pages[name])
        yield {name: visit.page for name, visit in visits.items()}


async def check_shown(report: Report, page: str, part: Locator, text: str, within_s: float = RUN_S) -> None:
    """Claim that a part of an open page comes to show the pattern *text*, with numbers that agree."""
    shown = part.filter(has_text=re.compile(text)).first
    try:
        await shown.wait_for(timeout=within_s * 1_000)
    except NotShownError:
        report.claim(False, f"page {page}: {text!r} is not shown")
        return
    line = " ".join((await shown.inner_text()).split())
    told = numbers(SENTENCE, line)
    report.claim(told is None or told[0] + told[2] == told[1], f"page {page}: {line}")


async def play_pages(report: Report, folder: Path, files: int) -> None:
    """Look at the open pages while runs go on; kill the hub, start it again, and wait for the end."""
    with person(folder, files) as (home, titles):
        began, said = perf_counter(), home.hub("up", "--no-browser", "notes")
        check_up(report, said, files)
        link = LINK.search(said)
        assert link is not None, said
        async with open_pages(link, all_runs(home)[0]["id"]) as pages:
            row, fact = pages["Runs"].locator("tr"), pages["of the run"].locator("dd")
            card = pages["Sources"].get_by_role("status").filter(has_text="Reading")
            some, goes_on = (
                rf"[\d,]+ of {files:,}",
                rf"of {files:,} files read; .* goes on with [\d,]+ at once",
            )
            await check_shown(report, "Runs", row.filter(has_text="running"), some)
            await check_shown(report, "of the run", fact, some)
            await check_shown(report, "Sources", card, some)
            await check_shown(report, "of the run, once ended", fact, goes_on)
            await check_shown(report, "Runs, once a run has ended", row, goes_on)
            await check_shown(report, "Sources, of the next run", card, some)
            kill(home.pids()[0])
            for name, page in pages.items():
                await check_shown(report, f"{name}, hub killed", page.locator(".banner"), LOST)
            home.hub("up")
            for page in pages.values():
                await page.locator(".banner", has_text=LOST).wait_for(state="detached")
            ended, whole = row.filter(has_text="completed"), f"{files:,} of {files:,}"
            await check_shown(report, "Runs, at the end", ended, whole, within_s=ALL_S)
            source = pages["Sources"].locator("li")
            await check_shown(report, "Sources, at the end", source, f"read .*: {files:,} files")
        check_end(report, home, titles, began)


def main() -> None:
    """Play in a temporary folder, and exit with 1 if a claim is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, help="number of files [default: 5000; with --page 8000]")
    parser.add_argument("--page", action="store_true", help="look at the pages, and kill the hub")
    options = parser.parse_args()
    files = options.files or (8_000 if options.page else 5_000)
    if files <= MAX_FILES:
        parser.error(f"--files must exceed {MAX_FILES}, which one run reads")
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(play_pages if options.page else play_terminal, report, Path(folder), files)
    sys.stdout.write(f"{files} files: {report.broken} of {report.claims} claims are broken\n")
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
