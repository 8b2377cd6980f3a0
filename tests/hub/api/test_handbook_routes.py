"""The handbook as the operators' listener serves it."""

from pathlib import Path

from hub import docs
from tests.support.hub import answering, over_unix


async def test_the_pages_are_served_as_markdown(tmp_path: Path) -> None:
    async with answering(tmp_path) as hub, over_unix(hub) as client:
        listed = await client.get("/docs")
        assert listed.headers["content-type"].startswith("text/markdown")
        for topic in docs.TOPICS:
            assert f"(/docs/{topic}.md)" in listed.text
            for path in (f"/docs/{topic}", f"/docs/{topic}.md"):
                assert (await client.get(path)).text == docs.page(topic)


async def test_an_unknown_page_is_refused_with_a_hint(tmp_path: Path) -> None:
    async with answering(tmp_path) as hub, over_unix(hub) as client:
        answer = await client.get("/docs/setings")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_method")
    assert answer.json()["hint"] == "did you mean settings?"
