"""``hub costs``: costs of models by agent, user, model, run, file, day or call."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.options import Duration, example, hub_option, json_option
from hub.cli.talk import talk

BY: Final = ("agent", "user", "model", "run", "file", "day", "call")


@click.command(epilog=example("hub costs --by agent --since 7d"))
@click.option(
    "--by", type=click.Choice(BY), default="agent", show_default=True, help="Group the costs by this."
)
@click.option(
    "--since",
    type=Duration(),
    default="30d",
    show_default=True,
    metavar="TIME",
    help="How far to look back, as in 7d.",
)
@hub_option
@json_option
def costs(by: str, since: float, state: Path, as_json: bool) -> None:
    """Show the costs of models, failed requests included."""
    began = datetime.fromtimestamp(show.clock.now().timestamp(), UTC) - timedelta(seconds=since)
    with talk(state) as hub:
        response = hub.get("/v1/costs", by=by, since=began.isoformat())
    if as_json:
        show.print_json("costs", response)
        return
    has_agents = by not in ("agent", "user", "model", "day")
    headers = (by, *(("agent",) if has_agents else ()), "requests", "failed", "tokens in", "out", "USD")
    show.print_table(
        headers,
        (
            (
                show.short_id(row["key"]) if by == "run" else row["key"],
                *((row["agent"],) if has_agents else ()),
                *_figures(row),
            )
            for row in (*response["rows"], response["total"])
        ),
    )
    if not response["rows"]:
        show.say("no model requests in that time")
    elif not response["total"]["usd"]:
        show.say("no prices are known: set price_in_usd and price_out_usd of your models in hub.toml")


def usd(amount: float | None) -> str:
    """Format an amount in US dollars: ``0.0123``; tiny amounts are ``<0.0001`` instead of zero."""
    if amount is None:
        return show.NOTHING
    return f"{amount:.4f}" if amount >= 0.0001 or not amount else "<0.0001"


def _figures(row: dict[str, Any]) -> tuple[object, ...]:
    return (row["calls"], row["failed"], row["prompt_tokens"], row["completion_tokens"], usd(row["usd"]))
