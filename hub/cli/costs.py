"""What models cost: by agent, user, model, run, file, day or call."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.options import Duration, example, hub_option, json_option
from hub.cli.talk import talk

BY: Final = ("agent", "user", "model", "run", "file", "day", "call")


@click.command(epilog=example("hub costs --by agent --since 7d"))
@click.option("--by", type=click.Choice(BY), default="agent", show_default=True, help="What is summed up.")
@click.option(
    "--since", type=Duration(), default="30d", show_default=True, metavar="TIME", help="How far back."
)
@hub_option
@json_option
def costs(by: str, since: float, state: Path, as_json: bool) -> None:
    """Show the costs of models, failed requests included."""
    began = datetime.fromtimestamp(show.clock.now().timestamp(), UTC) - timedelta(seconds=since)
    with talk(state) as hub:
        told = hub.get("/v1/costs", by=by, since=began.isoformat())
    if as_json:
        show.print_json("costs", told)
        return
    has_agents = by not in ("agent", "user", "model", "day")
    headers = (by, *(("agent",) if has_agents else ()), "questions", "failed", "tokens in", "out", "USD")
    show.print_table(
        headers,
        (
            (
                show.short_id(row["key"]) if by == "run" else row["key"],
                *((row["agent"],) if has_agents else ()),
                *_figures(row),
            )
            for row in (*told["rows"], told["total"])
        ),
    )
    if not told["rows"]:
        show.say("no model was asked in that time")
    elif not told["total"]["usd"]:
        show.say("no price is known: write price_in_usd and price_out_usd of your models in hub.toml")


def usd(amount: float | None) -> str:
    """``0.0123``; tiny amounts are not told as nothing."""
    if amount is None:
        return show.NOTHING
    return f"{amount:.4f}" if amount >= 0.0001 or not amount else "<0.0001"


def _figures(row: dict[str, Any]) -> tuple[object, ...]:
    return (row["calls"], row["failed"], row["prompt_tokens"], row["completion_tokens"], usd(row["usd"]))
