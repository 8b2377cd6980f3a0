"""The handbook as the operators' listener serves it."""

from collections import Counter

import anyio
import httpx2
import pytest
from anyio import from_thread
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from hub import docs
from hub.api.resources import handbook
from hub.base.roles import Role
from tests.support.hub import ServedHub, over_tcp

HTML = {"accept": "text/html,application/xhtml+xml"}


async def test_handbook_pages_are_served_as_markdown(client: httpx2.AsyncClient) -> None:
    listed = await client.get("/docs")
    assert listed.headers["content-type"].startswith("text/markdown")
    for topic in docs.TOPICS:
        assert f"(/docs/{topic}.md)" in listed.text
        for path in (f"/docs/{topic}", f"/docs/{topic}.md"):
            assert (await client.get(path)).text == docs.page(topic)


async def test_unknown_handbook_page_is_refused_with_a_hint(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/docs/setings")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_method")
    assert answer.json()["hint"] == "did you mean 'settings'?"


async def test_search_of_the_handbook_links_sections_and_keeps_the_words_as_text(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        found = HTMLParser((await client.get("/docs?q=obsidian", headers=HTML)).text)
        links = [str(link.attributes["href"]) for link in found.css("main a")]
        assert {link.partition("#")[0].removesuffix(".md") for link in links} <= {
            f"/docs/{topic}" for topic in docs.TOPICS
        }
        assert "".join(f"({link})" for link in links[:1]) in (await client.get("/docs?q=obsidian")).text
        typed = '"><b>xyzzy'
        nothing = HTMLParser((await client.get("/docs", params={"q": typed}, headers=HTML)).text)
        field = nothing.css_first("input[name=q]")
        assert field is not None and field.attributes["value"] == typed
        assert (nothing.css("b"), nothing.css("main a")) == ([], [])
        assert (await client.get("/docs", params={"q": "x" * 101})).status_code == 422


async def test_searches_of_many_requests_take_a_single_thread(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Counter[str]()

    def counted(_: str, query: str) -> str:
        running["now"] += 1
        running["most"] = max(running.values())
        from_thread.run(anyio.wait_all_tasks_blocked)
        running["now"] -= 1
        return query

    monkeypatch.setattr(handbook, "markdown_of", counted)
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client, anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(client.get, f"/docs?q=word{number}")
    assert running["most"] == 1


async def test_handbook_page_leads_to_the_pages_before_and_after(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        for at, topic in enumerate(docs.TOPICS):
            page = HTMLParser((await client.get(f"/docs/{topic}", headers=HTML)).text)
            near = {str(link.attributes["rel"]): link.attributes["href"] for link in page.css(".pager a")}
            assert near.get("prev") == (f"/docs/{docs.TOPICS[at - 1]}" if at else None)
            assert near.get("next") == (f"/docs/{docs.TOPICS[at + 1]}" if topic != docs.TOPICS[-1] else None)


async def test_handbook_pages_in_html_have_no_scripts_and_no_dead_links(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        ids: dict[str, set[str]] = {}
        links: set[tuple[str, str, str]] = set()
        for topic in ("", *docs.TOPICS):
            answer = await client.get(f"/docs/{topic}".rstrip("/"), headers=HTML)
            assert answer.headers["content-type"].startswith("text/html")
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            page = HTMLParser(answer.text)
            assert page.css("script, style, [style], img") == [], topic
            ids[topic] = {str(node.attributes["id"]) for node in page.css("[id]")}
            for node in page.css("main a"):
                path, _, part = str(node.attributes["href"]).partition("#")
                if not path.startswith("http"):
                    links.add((topic, path.removeprefix("/docs/").removesuffix(".md"), part))
        style = page.css_first("link[rel=stylesheet]")
        assert style is not None
        assert (await client.get(str(style.attributes["href"]))).status_code == 200
    for topic, path, part in links:
        assert not part or part in ids[path or topic], (topic, path, part)
        assert path in ids or not path, (topic, path)
