"""What is said to one is never taken for what was said to another."""

from pathlib import Path

from hub.coordination.messages import ToLead
from storage.store import open_store
from tests.hub.coordination.leading import OPERATOR, make_board, open_leading
from tests.support.gateway import fake_gateway


async def test_one_key_for_words_to_two_boards_keeps_neither_of_them_back(tmp_path: Path) -> None:
    async with (
        open_store("sqlite://") as store,
        fake_gateway("west") as west,
        open_leading(tmp_path, store, west) as hub,
    ):
        await make_board(store, "orchard")
        keyed = ToLead(content="Good morning.", dedupe_key="k-1")
        first = await hub.to_leads.send(OPERATOR, "garden", keyed, wait_s=0)
        other = await hub.to_leads.send(OPERATOR, "orchard", keyed, wait_s=0)
        again = await hub.to_leads.send(OPERATOR, "garden", keyed, wait_s=0)
    assert (first.message.board, other.message.board) == ("garden", "orchard")
    assert again.message.id == first.message.id
