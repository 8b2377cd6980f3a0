"""Pages of a hub with very many things cost a browser as much as those of a small one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from playwright.async_api import Browser

from tests.support.browser import chromium
from tests.support.dashboard import check_fit, visiting
from tests.support.filling import fill
from tests.support.hub import ServedHub, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.soak,  # fills a database and opens each page several times
]
PAGES: Final = ("", "review", "runs", "agents", "devices")
SMALL: Final = {"users": 1, "devices": 200, "agents": 200, "agent_states": 200, "runs": 200, "items": 200}
MANY: Final = {"devices": 1_000, "agents": 1_000, "agent_states": 1_000, "runs": 5_000, "items": 10_000}


class Cost(NamedTuple):
    """Cost of a page until it shows what it reads at first."""

    requests: int
    bytes: int


@asynccontextmanager
async def filled(folder: Path, counts: dict[str, int]) -> AsyncIterator[ServedHub]:
    async with serving(folder) as hub:
        await hub.store.write(fill, counts)
        yield hub


async def cost(browser: Browser, hub: ServedHub, path: str) -> Cost:
    async with visiting(browser, hub) as visit:
        devtools = await visit.context.new_cdp_session(visit.page)
        await devtools.send("Network.enable")
        sizes: list[float] = []
        devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await visit.open(path)
        await visit.page.wait_for_load_state("load")
        assert visit.complaints == []
        return Cost(len(visit.requests), int(sum(sizes)))


async def test_page_cost_does_not_grow_with_the_size_of_the_hub(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    costs: dict[str, tuple[Cost, Cost]] = {}
    async with (
        filled(tmp_path_factory.mktemp("small"), SMALL) as small,
        filled(tmp_path_factory.mktemp("large"), SMALL | MANY) as large,
    ):
        for path in PAGES:
            costs[path] = await cost(browser, small, path), await cost(browser, large, path)
        for size in ((390, 844), (1280, 800)):
            async with visiting(browser, large, size=size) as visit:
                for path in PAGES:
                    await visit.open(path)
                    await check_fit(visit, path, size[0])
    for path, (few, many) in costs.items():
        told = f"{path}: {few}, {many}, of {costs}"
        assert many.requests == few.requests, told
        assert many.bytes <= few.bytes * 1.01 + 100, told  # longer numbers, in places
