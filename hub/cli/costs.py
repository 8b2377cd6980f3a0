"""``hub costs`` and ``hub agents metrics``: costs of models, and metrics of agents over time."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import Duration, example, hub_option, json_option
from hub.cli.talk import agent_names, talk

ROWS: Final = 25  # of a table without --step
STEPS_S: Final = (60, 300, 900, 3_600, 21_600, 86_400, 604_800)


@click.command("metrics", epilog=example("hub agents metrics notes tokens --since 7d"))
@click.argument("name", shell_complete=agent_names)
@click.argument("metric", required=False)
@click.option(
    "--since",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How far to look back, as in 7d.",
)
@click.option("--step", type=Duration(), metavar="TIME", help="Time span of one row, as in 5m or 1h.")
@click.option(
    "--agg", metavar="NAME", help="Aggregation, as in sum, rate, avg, min, max, last, count, p50, p99.9."
)
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only series with this tag.")
@click.option("--by", metavar="TAG", help="A column for each value of this tag.")
@hub_option
@json_option
def metrics(
    name: str,
    metric: str | None,
    since: float,
    step: float | None,
    agg: str | None,
    tags: Sequence[str],
    by: str | None,
    state: Path,
    as_json: bool,
) -> None:
    """List the metrics of an agent; with METRIC, show its values over time."""
    path = f"/v1/agents/{quote(name, safe='')}/metrics"
    if metric is None:
        if step is not None or agg is not None or tags or by is not None:
            raise click.UsageError("--step, --agg, --tag and --by need a METRIC")
        with talk(state) as hub:
            response = hub.get_all(path, "series")
        show.print_json("metrics", response) if as_json else _print_series(name, response)
        return
    began = show.clock.now() - timedelta(seconds=since)
    params: dict[str, str | float | None] = {"since": began.isoformat(), "agg": agg, "by": by}
    with talk(state) as hub:
        response = hub.get(
            f"{path}/{quote(metric, safe='')}", **params, step_s=step or _suitable(since), tag=list(tags)
        )
    show.print_json("metric", response) if as_json else _print_chart(response)


def _suitable(since: float) -> float:
    return next((step for step in STEPS_S if since <= step * ROWS), STEPS_S[-1])


def _print_series(name: str, response: Mapping[str, Any]) -> None:
    show.print_table(
        ("metric", "type", "tags", "newest", show.in_zone("at")),
        (
            (
                row["name"],
                row["type"],
                _tags(row["tags"]),
                figure(row["last"]),
                show.short_moment(row["last_at"]),
            )
            for row in response["series"]
        ),
    )
    if not response["series"]:
        show.report(f"no metrics of {name} yet; its device reports them with metrics.report")


def _print_chart(response: Mapping[str, Any]) -> None:
    lines = response["lines"]
    columns = [response["agg"] if line["tag"] is None else line["tag"] or show.NOTHING for line in lines]
    rows = [
        (show.short_moment(point["at"]), *(figure(line["points"][place]["value"]) for line in lines))
        for place, point in enumerate(lines[0]["points"])
    ]
    show.print_table(
        (show.in_zone("from"), *columns), [*rows, ("all", *(figure(line["whole"]) for line in lines))]
    )
    step = show.duration(response["step_s"])
    error = "" if response["error"] is None else f"; error of at most {response['error']:.1%}"
    show.report(f"{response['agg']} of {response['name']} ({response['type']}) for each {step}{error}")


def _tags(tags: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(tags.items()))


def figure(value: float | None) -> str:
    """Format a value with four significant digits: ``0.01234``, ``17``, ``1.5e+09``."""
    if value is None:
        return show.NOTHING
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.4g}"
