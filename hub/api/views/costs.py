"""What models cost, and what a run would, as an operator reads it."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

CostsBy = Literal["agent", "user", "model", "run", "file", "day", "call"]


class CostView(View):
    """What was spent under one *key*: a name, an id, a path, a day as ``2026-01-05`` (UTC).

    *calls* were made and *requests* sent for them, tries that failed included; *failed* calls got no answer.
    *usd* is 0 where a model has no price.
    """

    key: str
    agent: str | None = None
    calls: int
    failed: int = 0
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    took_s: float


class CostsView(View):
    """What was spent from *since* until before *until*: the dearest rows first, and all of it."""

    by: CostsBy
    since: AwareDatetime
    until: AwareDatetime
    rows: tuple[CostView, ...]
    total: CostView


class SpendView(View):
    """What an agent's questions cost in the last 24 hours and in the last 30 days."""

    day: CostView
    month: CostView


class EstimateView(View):
    """What a run of an agent would read and cost, as things are now.

    *files* are listed by its device, *known* of them were settled before, the rest would be
    read. *basis*: from what tokens are reckoned: the agent's own ``runs``, or, where there were too few of
    them, the ``size`` of the files. *usd_...* are missing where no price is known.
    """

    agent: str
    files: int
    known: int
    to_read: int
    bytes_to_read: int
    questions_low: int
    questions_high: int
    tokens_low: int
    tokens_high: int
    usd_low: float | None = None
    usd_high: float | None = None
    basis: Literal["runs", "size"]
    over: tuple[str, ...] = ()  # budgets that it would reach, as they are called in hub.toml
