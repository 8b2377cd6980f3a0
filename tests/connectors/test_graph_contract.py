"""What we ask of Microsoft Graph, and what our fake of it answers, judged by Microsoft's own description."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.connectors import outlook as outlook_stream
from hub.connectors.calling import Misconfigured, Unavailable
from hub.document import Document
from tests.connectors.prism import running_prism, why_no_prism
from tests.support.graph.account import Account, account, cursor_of, documents, heads, listing

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(why_no_prism() is not None, reason=why_no_prism() or ""),
]


@asynccontextmanager
async def refereed(folder: Path) -> AsyncIterator[Account]:
    """An account at our fake, with the referee between."""
    async with account() as here, running_prism(folder, here.fake.base_url) as base_url:
        here.fake.base_url = base_url
        yield here


async def test_outlook_requests_conform_to_the_graph_api_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook_stream, "MAX_FILTERED", 5)
    async with refereed(tmp_path) as here:
        mail = here.fake.mail
        mail.page_most = 3
        mail.folders["AAMk-projects"] = "Projects"
        mail.children["AAMk-projects"] = {"AAMk-alpha": "Alpha"}
        for number in range(7):
            mail.deliver(f"mail {number}", attachments=(("plan.csv", "text/csv", b"a,b\n"),))
        gone = mail.deliver("gone", folder="AAMk-alpha")
        outlook = here.outlook(folders=["inbox", "Projects/Alpha"])
        await outlook.check()
        first = await listing(outlook)
        mail.delete(gone)
        mail.change(list(mail.messages)[-1], isRead=True)
        mail.move(next(iter(mail.messages)), "AAMk-alpha")
        await listing(outlook, cursor_of(first))
        found = await documents(outlook, heads(first))
        assert sum(isinstance(one, Document) for one in found.values()) == 7
        asked = [request for request in here.fake.requests if "attachments" not in request.target]
        assert len(asked) > 15


async def test_teams_requests_conform_to_the_graph_api_description(tmp_path: Path) -> None:
    async with refereed(tmp_path) as here:
        chats = here.fake.chats
        chats.page_most = 2
        chat, (team, channel) = chats.open_chat("group", "Plans"), chats.open_channel()
        where = f"{team}/{channel}"
        for number in range(5):
            edited = chats.say(chat, f"<p>{number}</p>")
            chats.say(where, "<p>in</p>", root=chats.say(where, "<p>Who?</p>"))
        chats.edit(chat, edited, "<p>edited</p>")
        wanted = {"channels": [{"team": team, "channel": channel}]}
        teams = here.teams(settings={"channels": True}, **wanted)
        await teams.check()
        pages = await listing(teams)
        assert len(heads(pages)) == 15
        await listing(teams, cursor_of(pages))
        again = here.teams(settings={"channels": True}, **wanted)  # one that has to ask for each
        found = await documents(again, heads(pages))
        assert all(isinstance(one, Document) for one in found.values())


async def test_graph_contract_referee_rejects_invalid_requests_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refereed(tmp_path) as here:
        here.fake.mail.deliver(isRead="perhaps")
        with pytest.raises(Unavailable):  # 500: our fake answered what Microsoft would not
            await listing(here.outlook())
        monkeypatch.setattr(outlook_stream, "SELECT", "id,subject,colour")
        asked = len(here.fake.requests)
        with pytest.raises(Misconfigured):  # 422: we asked what Microsoft does not know
            await listing(here.outlook())
        assert not [one for one in here.fake.requests[asked:] if "colour" in one.target]
