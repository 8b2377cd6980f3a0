"""Assistants that may only read propose, one of them whatever documents order; the owner alone decides."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.hub.extraction.hostile.planting import hostile_documents
from tests.scenarios.scene import Scene, check_boxes, rows, scene
from tests.scenarios.test_dashboard import OPEN, looking, typed
from tests.scenarios.test_verdicts import GRANT, at_device, come
from tests.support.browser import chromium
from tests.support.dashboard import browsing

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.soak,  # a browser, two programs, and some hundred items
]
MAX_REASON = 500


class Assistant:
    """Assistant with a token that may only read."""

    def __init__(self, client: httpx2.AsyncClient, actor: str) -> None:
        self.client = client
        self.actor = actor

    async def propose(self, proposed: list[dict[str, Any]]) -> int:
        """Propose verdicts. Return the number of proposals that were taken."""
        answer = await self.client.post("/v1/items/proposals", json={"proposals": proposed})
        assert answer.status_code == 200, answer.text
        return sum(one["error"] is None for one in answer.json()["results"])

    async def obey(self, order: str, items: list[str]) -> list[int]:
        """Try whatever would decide about items because of an order; return the statuses."""
        ids = [one["id"] for item in items for one in await self._proposals(item)]
        accepted = [
            {"id": item, "verdict": "approve", "proposal": id} for item, id in zip(items, ids, strict=False)
        ]
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/items/verdicts", {"verdicts": [{"id": item, "verdict": "approve"} for item in items]}),
            ("/v1/items/verdicts", {"verdicts": accepted}),
            ("/v1/items/proposals/declined", {"proposals": ids}),
            ("/v1/operator-tokens", {"name": order[:20], "role": "operator", "scopes": ["review"]}),
        ]
        return [(await self.client.post(path, json=body)).status_code for path, body in asked]

    async def _proposals(self, item: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get(f"/v1/items/{item}")).json()["proposals"]
        return found


@asynccontextmanager
async def assistant(play: Scene, name: str) -> AsyncIterator[Assistant]:
    wanted = {"name": name, "role": "viewer", "scopes": ["read"]}
    token = (await play.hub.post("/v1/operator-tokens", wanted))["token"]
    address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=60) as client:
        yield Assistant(client, (await client.get("/v1/me")).json()["actor"])


async def audited(play: Scene, event: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await play.hub.get(f"/v1/audit?event={event}&limit=1000"))["entries"]
    return found


async def test_planted_orders_reach_no_verdict_and_twenty_keys_accept_twenty_proposals(
    tmp_path: Path,
) -> None:
    hostile = list(islice(hostile_documents(), 60))
    letters = {document.name: document.text for document in hostile}
    orders = [document.planted or document.text for document in hostile]
    async with scene(tmp_path, check_boxes(100)[0] | letters) as play:
        play.device.words = [*play.device.words, f"--grant=+{GRANT}=marked"]
        await play.device.start()
        assert (await play.hub.ended(await play.hub.start_run()))["items_created"] >= 200
        listed = [item["id"] for item in (await play.hub.get(OPEN))["items"]]
        async with (
            assistant(play, "gullible") as gullible,
            assistant(play, "sorter") as sorter,
            assistant(play, "namer") as namer,
        ):
            taken = 0
            for number, order in enumerate(orders):
                about = listed[2 * number : 2 * number + 2]
                reason = order[:MAX_REASON].replace("\r", " ")
                taken += await gullible.propose(
                    [{"item": item, "verdict": "approve", "why": reason} for item in about]
                )
                assert await gullible.obey(order, about) == [403] * 4
            for helper, verdict in ((sorter, "reject"), (namer, "approve")):
                reason = f"My task, says the {verdict}er."
                taken += await helper.propose(
                    [{"item": item, "verdict": verdict, "why": reason} for item in listed[:190]]
                )
            assert taken == 500
            actors = {one.actor for one in (gullible, sorter, namer)}
        assert rows(tmp_path / "hub.db", "SELECT count(*) FROM item_verdicts") == [(0,)]
        assert at_device(play)["approved"] == at_device(play)["applied"] == 0
        assert {item["id"] for item in (await play.hub.get(OPEN))["items"]} == set(listed)
        proposed: Counter[str] = Counter()
        for entry in await audited(play, "item.proposed"):
            proposed[entry["actor"]] += len(entry["detail"]["items"].split())
        assert (set(proposed), proposed.total()) == (actors, 500)

        async with browsing() as browser, looking(browser, play) as visit:
            await visit.open("review?proposed=true")
            await expect(visit.page.get_by_label("Proposed").first).to_contain_text("My task")
            await typed(visit, "p", 20)
            await come(play, listed[:20], "done")
        given = rows(tmp_path / "hub.db", "SELECT item_id, proposed_by, actor FROM item_verdicts")
        assert {item for item, _, _ in given} == set(listed[:20])
        assert {by for _, by, _ in given} <= actors
        accepted: Counter[str] = Counter()
        for entry in await audited(play, "item.judged"):
            assert entry["actor"] not in actors
            for part in entry["detail"]["proposed_by"].split("; "):
                by, *ends = part.split()
                accepted[by] += len(ends)
        assert (set(accepted) <= actors, accepted.total(), len(given)) == (True, 20, 20)
        assert at_device(play)["applied"] == 20
        assert (await play.hub.get("/v1/audit/verify"))["ok"]
