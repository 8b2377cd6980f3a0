"""Card of an item for programs that show pages (MCP Apps): its resource, and the tool that names it."""

from pathlib import Path
from typing import Any

from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextResourceContents

from hub.api.door.resources import CARD
from hub.roles import Role
from tests.hub.api.test_assistants import NO, REVISIONS, Person, approve, assistant, fill, reviewer, stored
from tests.support.families import each
from tests.support.hub import serving

APPS = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
OTHER = advertise(EXTENSION_ID, {"mimeTypes": ["text/html;profile=other"]})


@each("mode", REVISIONS)
async def test_client_that_shows_pages_gets_the_card_and_another_one_the_text_alone(
    tmp_path: Path, mode: str
) -> None:
    async with serving(tmp_path, assistants=True, body_bytes=100_000) as hub:
        await fill(hub)
        token = await hub.token(Role.VIEWER)
        seen: list[dict[str, Any]] = []
        for extensions in ([APPS], [OTHER], []):
            async with assistant(hub, token, mode, extensions=extensions) as client:
                tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
                listed = await client.call_tool("items_newest", {})
                seen.append({"result": listed.model_dump(exclude={"meta"}), "meta": listed.meta})
                is_shown = extensions == [APPS]
                shown = {"items_newest": {"ui": {"resourceUri": CARD}}} if is_shown else {}
                assert {name: meta for name, meta in tools.items() if meta} == shown
                (page,) = (await client.read_resource(CARD)).contents
        async with assistant(hub, token, "auto") as client:  # the older revision has no place for extensions
            assert client.server_capabilities.extensions == {EXTENSION_ID: {}}
        assert seen[0]["result"] == seen[1]["result"] == seen[2]["result"]
        ways = [(one["meta"] or {}).get("hub/verdicts") for one in seen]
        assert ways == ["proposed", None, None]
        assert isinstance(page, TextResourceContents)
        assert (page.uri, page.mime_type) == (CARD, APP_MIME_TYPE)
        assert page.meta is not None and not any(page.meta["ui"]["csp"].values())
        assert "default-src 'none'" in page.text and "http-equiv" in page.text


@each("mode", REVISIONS)
async def test_verdict_of_a_client_that_shows_the_card_needs_the_agreement_of_its_person(
    tmp_path: Path, mode: str
) -> None:
    person = Person(*NO)
    async with serving(tmp_path, assistants=True, body_bytes=100_000) as hub:
        await fill(hub)
        token = await reviewer(hub)
        async with assistant(hub, token, mode, extensions=[APPS], elicitation_callback=person) as client:
            listed = await client.call_tool("items_newest", {})
            assert (listed.meta or {})["hub/verdicts"] == "given"
            for call in (
                "items_newest",
                "items_give",
                "items_give",
            ):  # an assistant that calls as the card does
                arguments = approve("i-0", version=1) if call == "items_give" else {}
                meta: Any = {"ui": {"resourceUri": CARD}, "hub/verdicts": "given"}
                result = await client.call_tool(call, arguments, meta=meta)
                assert result.is_error == (call == "items_give")
        async with assistant(hub, token, mode, extensions=[APPS]) as client:  # it asks no person
            listed = await client.call_tool("items_newest", {})
            assert (listed.meta or {})["hub/verdicts"] == "proposed"
            assert (await client.call_tool("items_give", approve("i-0"))).is_error
        assert (len(person.asked), await stored(hub, "item_verdicts")) == (2, 0)
