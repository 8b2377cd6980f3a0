"""What an operator is told of items."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

ItemVerdict = Literal["open", "approved", "edited", "rejected"]


class ItemView(View):
    """One item of the ledger. *run_id* planned its newest call; its text stands at its device.

    *told_at*: its device has answered for the newest version; null: it may not have it.
    *warnings*: what a reviewer should know: instruction, hidden_characters, approximate_quote, cut_answer.
    """

    id: str
    agent: str
    run_id: str
    path: str
    table: str
    title: str
    warnings: tuple[str, ...] = ()
    verdict: ItemVerdict
    version: int  # how many calls it has led to
    row_id: str | None = None  # at its device
    created_at: AwareDatetime
    told_at: AwareDatetime | None = None
    verdict_at: AwareDatetime | None = None
