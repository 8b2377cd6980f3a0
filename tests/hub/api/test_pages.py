"""Pages for browsers: which requests get them, and what a page may do."""

import json
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from hub.base.roles import ROUTES
from hub.base.web.pages import BUNDLE, NO_PAGES, Pages
from tests.support.hub import ServedHub, over_tcp, over_unix

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def bundle(tmp_path: Path) -> Pages:
    """A bundle of a page and a script, next to a file that it does not list."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>hub</title>")
    (folder / "assets" / "app-1a2b.js").write_text("console.log('hub')" * 20)
    (folder / "notes.txt").write_text("not listed")
    files = {"index.html": {"sha256": "0"}, "assets/app-1a2b.js": {"sha256": "1", "licence": "MIT"}}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return Pages(folder)


async def _got(pages: Pages, path: str, method: str = "GET", **asked: str) -> Response | None:
    return await pages.find(method, path, Headers({**BROWSER, **asked}))


async def test_each_page_path_serves_the_same_document(bundle: Pages) -> None:
    for path in ("/", "/index.html", "/review", "/runs/019b8d5c", "/login", "/..%2f", "/agents/a.b"):
        page = await _got(bundle, path)
        assert page is not None and b"<title>hub" in page.body, path
        assert page.headers["cache-control"] == "no-cache"


async def test_only_files_listed_by_the_bundle_are_served(bundle: Pages) -> None:
    for path in ("/assets/app.js", "/assets/../manifest.json", "/assets/", "//etc/passwd", "/docs/x", "/v1"):
        page = await _got(bundle, path, accept="*/*")
        assert page is None, path
    for path in ("/notes.txt", "/manifest.json", "/../notes.txt"):
        page = await _got(bundle, path)
        assert page is not None and b"<title>hub" in page.body, path
    assert await _got(bundle, "/review", "POST") is None


async def test_hashed_asset_is_served_immutable_and_compressed(bundle: Pages) -> None:
    plain = await _got(bundle, "/assets/app-1a2b.js")
    packed = await _got(bundle, "/assets/app-1a2b.js", **{"accept-encoding": "gzip, br"})
    assert plain is not None and packed is not None
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in plain.headers["cache-control"]
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < len(plain.body)
    again = await _got(bundle, "/assets/app-1a2b.js", **{"if-none-match": plain.headers["etag"]})
    assert again is not None and (again.status_code, again.body) == (304, b"")


async def test_api_route_prefixes_are_excluded_from_page_paths() -> None:
    assert {asked.path.split("/")[1] for asked in ROUTES} <= NO_PAGES


async def test_committed_bundle_is_complete_and_references_no_other_origin() -> None:
    files = Pages(BUNDLE).files
    assert "/index.html" in files
    assert b"//" not in files["/index.html"].plain
    assert ["hub agents pause NAME", "Stop starting runs of an agent."] in json.loads(
        files["/commands.json"].plain
    )
    for file in files.values():
        assert "default-src 'none'" in file.headers["content-security-policy"]


async def test_pages_are_served_without_a_token_only_to_browsers(hub: ServedHub) -> None:
    async with over_tcp(hub) as client, over_unix(hub) as local:
        page = await client.get("/review", headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for name in ("content-security-policy", "x-content-type-options", "cross-origin-opener-policy"):
            assert name in page.headers, name
        assert page.headers["referrer-policy"] == "no-referrer"
        assert (await client.get("/review")).status_code == 401, "no document is asked for"
        for path in ("/v1/nothing", "/docs", "/metrics", "/assets/none.js"):
            assert (await client.get(path, headers=BROWSER)).status_code == 401, path
        wrong = await client.get("/", headers={**BROWSER, "host": "rebound.example"})
        assert wrong.status_code == 421
        assert (await local.get("/review", headers=BROWSER)).status_code == 404, "over the Unix socket"
