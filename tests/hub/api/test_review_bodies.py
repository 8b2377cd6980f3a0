"""Bodies of the review page at a device: each is one of the hub's, with all of its fields."""

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from hub.api.resources.items import ItemChoices, ItemCountsView, ItemDetail, ItemsPage, VerdictResults
from hub.api.resources.system import MeView
from hub.base.web.cookies import MARK
from hub.device.review.server import OwnReview
from tests.hub.device.test_inbox import inbox_of
from tests.support.clock import FakeClock, SeededChance

PAGE = "http://127.0.0.1:8080"


@pytest.fixture
def app(tmp_path: Path) -> OwnReview:
    """The review of a file with an item that has a source, and an item that has none."""
    inbox = inbox_of(tmp_path, "call Ana", "pay the rent", sourced=["call Ana"])
    return OwnReview(inbox, port=8080, clock=FakeClock(), chance=SeededChance())


async def test_every_body_of_the_review_page_has_the_fields_of_the_hub_view_in_order(app: OwnReview) -> None:
    views: dict[str, Any] = {
        "/v1/me": MeView,
        "/v1/items?limit=1": ItemsPage,
        "/v1/items/counts": ItemCountsView,
        "/v1/items/1": ItemDetail,
        "/v1/items/1/choices": ItemChoices,
    }
    verdicts = [{"id": "2", "verdict": "approve"}, {"id": "9", "verdict": "approve"}]
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url=PAGE, headers={MARK: "1"}) as page:
        code = app.path.partition("#")[2]
        await page.post("/v1/sessions", headers={"authorization": f"Bearer {code}"})
        bodies = {path: (await page.get(path)).content for path in views}
        given = await page.post("/v1/items/verdicts", json={"verdicts": verdicts})
    bodies["verdicts"], views["verdicts"] = given.content, VerdictResults
    for path, view in views.items():
        assert msgspec.json.encode(msgspec.json.decode(bodies[path], type=view)) == bodies[path], path
