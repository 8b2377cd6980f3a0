"""The dashboard of a real hub in a real browser: a hub with something to see, and its pages in Chromium.

``python -m tests.support.dashboard FOLDER`` writes pictures of all pages into a folder.
"""

import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import anyio
import msgspec
import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from hub.accounts.sealing_keys import KeyStore
from hub.base.roles import ROLE_SCOPES, Role, Scope
from hub.health.issues import Finding, notice, post, warning
from hub.text.excerpt import Excerpt
from protocol.capabilities import CAPABILITY_OF
from protocol.coordination import MetricType
from protocol.ids import CallId, RunId, UserId
from protocol.lifecycles import RunOutcome, RunState
from protocol.tool_calls import Action
from storage import deliveries
from storage.agents import agents, measurements
from storage.agents.measurements import BucketRetention, SampleRow
from storage.devices.devices import DeviceRow
from storage.effects import fire_runs
from storage.runs import excerpts, items
from storage.runs.excerpts import SealedExcerpt
from storage.runs.items import Decision, ItemRow
from storage.schedules import schedule_rows
from storage.schedules.fires import FireRow
from storage.schema import deliveries as delivery_rows
from storage.schema import model_calls, notify_targets, run_calls, run_state_history, run_units, runs
from tests.support.browser import chromium
from tests.support.clock import START, SeededChance
from tests.support.hub import TEXT, ServedHub, over_unix, serving
from tests.support.identity import EndedLink

expect.set_options(timeout=30_000)  # on a busy machine; what is there at once costs nothing
HOSTILE: Final = "<img src=x onerror=alert(1)>\u202egnp.\u2066 & <b>bold</b>"
LONG: Final = "long " * 1_600
PLAIN: Final = "Send Anna the invoice"
DUE_MS: Final = 1_796_083_200_000  # 2026-12-01, at midnight of UTC
PAGES: Final = (
    "",
    "inbox",
    "inbox?item=i-2",
    "tasks",
    "sources",
    "sources?add=account",
    "parts",
    "status",
    "runs",
    "runs/r-1",
    "why",
    "agents",
    "agents?view=week",
    "agents/notes",
    "agents?new=1",
    "devices",
    "devices/desk",
    "questions",
    "boards",
    "boards/garden",
    "messages",
    "trends",
    "docs",
    "docs?q=sinks",
    "docs/dashboard.md",
    "connectors",
    "connectors/post",
    "settings?key=limits.runs&since=1",
    "log?level=debug",
    "audit",
    "notify",
    "notify/phone",
)
THEMES: Final = ("light", "dark")
SIZES: Final = {"wide": (1280, 860), "narrow": (320, 700)}
MAILBOX: Final = """
[[connectors]]
name = "post"
provider = "imap"
settings = { host = "imap.example.org", username = "ana@example.org" }
"""
TARGET: Final = """
[[notify]]
name = "phone"
kind = "ntfy"
url = "http://127.0.0.1:1/news"
events = ["run.failed"]
"""
AXE: Final = Path(__file__).parents[2] / "hub" / "api" / "web" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe: Final = pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: make web")


@asynccontextmanager
async def shown_hub(folder: Path) -> AsyncIterator[ServedHub]:
    """Open a hub with runs, items, questions and measurements, some with hostile texts."""
    async with serving(folder, TEXT + MAILBOX + TARGET, body_bytes=20_000) as hub, over_unix(hub) as operator:
        await hub.device("lab")
        takes_verdicts(await hub.device("desk"), hub)
        await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
        await hub.run("r-2", RunState.FAILED, reason=HOSTILE)
        await hub.run("r-3")
        await hub.store.write(keep_items, hub)
        await hub.store.write(_work, hub)
        await hub.store.write(_go_well, hub)
        await hub.store.write(keep_deliveries, hub)
        for level in ("debug", "warning"):
            fields: dict[str, object] = {"path": HOSTILE, "run_id": "r-1", "code": "not_granted"}
            hub.ring.append(
                at=hub.now_ms, level=level, event="unit.unread", channel="hub.test", fields=fields
            )
        edited = await operator.patch("/v1/config", json={"values": {"limits.runs": 5}})
        assert edited.status_code == 200, edited.text
        hub.app.issues.add("of a test", _find)
        made = await operator.post("/v1/boards", json={"name": "garden"})
        assert made.status_code == 201, made.text
        joined = await operator.post("/v1/boards/garden/agents", json={"agent": "notes"})
        assert joined.status_code == 201, joined.text
        for content in (HOSTILE, LONG):
            for route in ("ask-user", "memory", "agents/notes/nudge?wait_s=0"):
                asked = await operator.post(f"/v1/boards/garden/{route}", json={"content": content})
                assert asked.status_code == 201, asked.text
        yield hub


def takes_verdicts(device: DeviceRow, hub: ServedHub) -> dict[str, list[str]]:
    """Let a connected device take verdicts. Return its owner's grants."""
    link = hub.roster.find(device.id)
    assert isinstance(link, EndedLink)
    link.capabilities |= {CAPABILITY_OF[Action.REVIEW_APPLY]}
    link.owner_grants["review.remote"] = ["marked"]
    return link.owner_grants


async def _find(now: datetime) -> Iterable[Finding]:
    """Find an issue that a request corrects, and one with a hostile text."""
    resume = post("Resume the agent", "hub agents resume notes", "/v1/agents/notes/resume", Scope.RUN)
    return (
        warning("agent.rests", "agent notes rests", fix="let it work", subject="notes", fixes=resume),
        notice("name.hostile", HOSTILE, fix="rename it"),
    )


def keep_items(c: sa.Connection, hub: ServedHub) -> None:
    """Store items of the agent ``notes``, and what it measured."""
    agent = agents.agent_called(c, "notes", None)
    assert agent.device_id is not None
    rows = [
        ItemRow(
            id=f"i-{number}",
            user_id=agent.user_id,
            agent_id=agent.id,
            device_id=agent.device_id,
            unit_key=f"notes/{title[:40]}.md",
            target_table="tasks",
            likeness=title,
            quote_hash="q",
            place_hash="q",
            config_fingerprint="f",
            data={"title": title, "status": "todo", "dueDate": DUE_MS},
            warnings=() if title == PLAIN else ("instruction",),
            call_id=CallId(f"c-{number}"),
            run_id=RunId("r-1"),
            source={"path": "notes/a.md", "quote": title, "start": 6, "end": 6 + len(title)}
            | {"timezone": "UTC"},
            row_id=f"row-{number}",
            answered_at=hub.now_ms,
            created_at=hub.now_ms,
            updated_at=hub.now_ms,
        )
        for number, title in enumerate((HOSTILE, LONG, PLAIN))
    ]
    items.write_items(c, [Decision(after=row) for row in rows])
    ring = KeyStore(hub.folder, chance=SeededChance(), environ={}).ring_now()
    for row, around in zip(rows, (HOSTILE, LONG, "Hello,"), strict=True):
        excerpt = Excerpt(98, f"{around}\n- [ ] ", f" @due(2026-12-01)\n\n{around}")
        sealed = SealedExcerpt(row.id, *ring.seal(excerpt, row=row.id, owner=row.id))
        excerpts.put_excerpts(c, {row.id: sealed}, at=hub.now_ms)
    (schedule,) = schedule_rows.schedules_of(c, agent.id)
    hour = 3_600_000
    decided = [
        FireRow(schedule.id, hub.now_ms - 3 * hour, hub.now_ms - 3 * hour, 0, "run", None, RunId("r-1"), 1),
        FireRow(schedule.id, hub.now_ms - hour, hub.now_ms - 2 * hour, 1, "skipped_paused", "user", None, 1),
    ]
    c.execute(fire_runs.INSERT_FIRES, [msgspec.structs.asdict(fire) for fire in decided])
    samples = [
        SampleRow(
            agent_id=agent.id,
            name="latency_ms",
            type=MetricType.GAUGE,
            value=40 + (minute * 7) % 31,
            at=hub.now_ms - minute * 60_000,
        )
        for minute in range(1, 300, 5)
    ]
    measurements.record(c, samples, at=hub.now_ms, retention=BucketRetention(minutes_from=0, hours_from=0))


def keep_deliveries(c: sa.Connection, hub: ServedHub) -> None:
    """Store deliveries to the target ``phone``, which takes none since ten minutes."""
    at, since = hub.now_ms, hub.now_ms - 600_000
    deliveries.open_target(c, "phone", digest="d", user=None, at=since)
    failing = {"failures": 4, "failing_since": since, "retry_at": at + 300_000, "problem": HOSTILE}
    c.execute(sa.update(notify_targets).values(**failing))
    shown = (("delivered", 1, "status 200"), ("failed", 8, HOSTILE), ("waiting", 4, "status 503"))
    rows = [
        {"id": f"msg_{number}", "target": "phone", "number": number, "event": "run.failed", "data": {}}
        | {"subject": f"run:r-{number}", "state": state, "attempts": attempts, "answer": answer}
        | {"due_at": at + 300_000, "created_at": since, "answered_at": at}
        for number, (state, attempts, answer) in enumerate(shown, 1)
    ]
    c.execute(sa.insert(delivery_rows), rows)


def _go_well(c: sa.Connection, hub: ServedHub) -> None:
    """Store how the hub went on its last day: two nodes, one of which was away for four hours."""
    counters: tuple[tuple[str, dict[str, str], float], ...] = (
        *(("hub.runs", {"outcome": outcome}, n) for n, outcome in enumerate(("error", "partial", "success"))),
        *(("hub.items", {"end": end}, 3 * n) for n, end in enumerate(("created", "known", "updated"), 1)),
        *(("hub.verdicts", {"verdict": verdict}, n) for n, verdict in enumerate(("approved", "edited"), 1)),
        *(
            ("hub.model_requests", {"model": f"{model}-model", "outcome": outcome}, n)
            for more, outcome in enumerate(("answered", "refused"))
            for n, model in enumerate(("small", "large", HOSTILE, "other"), 1 + 4 * more)
        ),
        ("hub.model_cost_usd", {"model": "small-model"}, 0.002),
        ("hub.model_cost_usd", {"model": HOSTILE}, 0.14),
    )
    gauges = {
        "hub.node_devices": 3,
        "hub.node_calls": 1,
        "hub.node_cpu": 0.12,
        "hub.node_memory_bytes": 9e7,
        "hub.node_lag_seconds": 0.004,
    }
    quarters = 4 * 24
    samples = [
        SampleRow(
            agent_id=None, name=name, value=value * (n * 7 % 5), at=at, type=MetricType.COUNTER, tags=tags
        )
        for n in range(1, quarters)
        for at in [hub.now_ms - n * 900_000]
        for name, tags, value in counters
        if n % 3 == 0
    ]
    samples += [
        SampleRow(
            agent_id=None,
            name=name,
            value=value * (1 + (n * 7 % 5) / 10),
            at=hub.now_ms - n * 900_000,
            tags={"node": node},
        )
        for n in range(1, quarters)
        for node in ("n-east", "n-west")
        for name, value in gauges.items()
        if node == "n-east" or not 16 < n < 32
    ]
    took = {"agent_id": None, "name": "hub.run_seconds", "type": MetricType.HISTOGRAM}
    samples += [SampleRow(**took, value=n % 9, at=hub.now_ms - n * 900_000) for n in range(1, quarters)]  # type: ignore[arg-type]
    measurements.record(c, samples, at=hub.now_ms, retention=BucketRetention(minutes_from=0, hours_from=0))


def _work(c: sa.Connection, hub: ServedHub) -> None:
    """Store what the run ``r-1`` did in its minute: two files, a question to a model and its calls."""
    agent, began = agents.agent_called(c, "notes", None), hub.now_ms - 60_000
    run = {"run_id": "r-1"}
    c.execute(sa.update(runs).where(runs.c.id == "r-1").values(created_at=began, started_at=began + 1_000))
    moved = run_state_history.c.run_id == "r-1", run_state_history.c.seq.in_((1, 2, 3))
    at = began + (run_state_history.c.seq - 1) * 500
    c.execute(sa.update(run_state_history).where(*moved).values(at=at))
    for number, path in enumerate((f"notes/{HOSTILE}.md", "notes/b.md")):
        unit = run | {"unit_key": path}
        from_ = began + 2_000 + number * 30_000
        times = {"began_at": from_, "read_at": from_ + 4_000, "planned_at": from_ + 15_000}
        state = {"state": "DONE", "content_hash": "h", "updated_at": from_ + 25_000}
        c.execute(sa.insert(run_units).values(**unit, **times, **state, calls_planned=2, calls_settled=2))
        asked = {"id": f"q-{number}", "agent_id": agent.id, "user_id": agent.user_id, "question": "q"}
        cost = {"prompt_tokens": 900, "completion_tokens": 80, "cost_nanos": 2_000_000, "took_ms": 11_000}
        c.execute(
            sa.insert(model_calls).values(
                **unit, **asked, **cost, model="small-model", outcome="answered", at=from_ + 15_000
            )
        )
        for call, (sent_at, settled_at) in enumerate(((15_000, 16_000), (16_500, 25_000))):
            row = {
                "call_id": f"call-{number}-{call}",
                "ordinal": call,
                "target_table": "tasks",
                "state": "ACKED",
            }
            times = {"sent_at": from_ + sent_at, "updated_at": from_ + settled_at}
            c.execute(sa.insert(run_calls).values(**unit, **row, **times, sends=1 + call))


@asynccontextmanager
async def browsing(*, keeps_pages: bool = False) -> AsyncIterator[Browser]:
    """Open a browser. *keeps_pages*: pages that are left live on for a way back, as people have it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            # One process for the pages of a profile: another one begins with 0.1 s of a processor.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--renderer-process-limit=1"],
            ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else None,
        )
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """A window in which an operator of the hub looks at its pages.

    Attributes:
        complaints: errors and messages of policies that the browser reported.
        requests: addresses that its pages asked for.
    """

    def __init__(self, context: BrowserContext, page: Page, origin: str) -> None:
        self.context, self.page, self.origin = context, page, origin
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self._report(message.type, message.text))
        page.on("pageerror", lambda error: self._report("error", str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _report(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    async def open(self, path: str) -> None:
        """Open a page, and wait until all that it reads at first is shown."""
        await self.page.goto(f"{self.origin}/{path}")
        await self.page.locator("main h1").wait_for()
        await self.page.locator("[aria-busy=true]").first.wait_for(state="detached")


async def saved(page: Page) -> None:
    """Wait until the hub has answered to every verdict of the page."""
    await expect(page.locator(".unsent")).to_have_count(0)


async def whom(page: Page) -> str:
    """Return who is signed in, as the foot of the navigation names them, with the role."""
    return (await page.locator(".navigation .foot p").inner_text()).removeprefix("You are ")


async def check_fit(visit: Visit, path: str, width: int) -> None:
    """Check that a page fits its window, has no tile of a zero, and makes the browser complain of nothing."""
    assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert "0" not in await visit.page.locator(".numbers strong").all_inner_texts(), path
    assert visit.complaints == [], path


# Profiles of ended visits, by browser. What pages store is kept by address, and each hub has its own.
_IDLE: Final = WeakKeyDictionary[Browser, list[BrowserContext]]()


@asynccontextmanager
async def visiting(
    browser: Browser,
    hub: ServedHub,
    *,
    theme: str = "light",
    size: tuple[int, int] = SIZES["wide"],
    role: Role = Role.ADMIN,
    user_id: UserId | None = None,
    is_signed_in: bool = True,
) -> AsyncIterator[Visit]:
    """Open a window for an operator, at the time of the hub.

    The window is a new page of a profile without cookies. The profile of an ended visit serves the next one,
    and keeps a blank page meanwhile: new processes would cost half a second of CPU time.
    """
    headers = {"authorization": f"Bearer {await hub.token(role, ROLE_SCOPES[role], user_id=user_id)}"}
    idle = _IDLE.setdefault(browser, [])
    if idle:
        context = idle.pop()
    else:
        context = await browser.new_context()
        await context.new_page()
    await context.set_extra_http_headers(headers if is_signed_in else {})
    page = await context.new_page()
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    await page.clock.set_fixed_time(START)
    try:
        yield Visit(context, page, f"http://{hub.listening.tcp}")
    finally:
        await page.close()
        await context.clear_cookies()
        await context.clear_permissions()
        idle.append(context)


async def take_pictures(folder: Path) -> None:
    """Write a picture of each page, in both themes and sizes."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        async with shown_hub(Path(state)) as hub, browsing() as browser:
            for theme in THEMES:
                for name, size in SIZES.items():
                    async with visiting(browser, hub, theme=theme, size=size) as visit:
                        for path in PAGES:
                            await visit.open(path)
                            file = folder / f"{path.replace('/', '-') or 'home'}-{theme}-{name}.png"
                            await visit.page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    anyio.run(take_pictures, Path(sys.argv[1]))
