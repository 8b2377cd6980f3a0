"""``hub agents slots``: upcoming and past wake-ups of an agent."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk

MAX_WAKES: Final = 10


@click.command("slots", epilog=example("hub agents slots notes"))
@click.argument("name", shell_complete=agent_names)
@hub_option
@json_option
def slots(name: str, state: Path, as_json: bool) -> None:
    """Show an agent's calendar: its next and its last wake-ups."""
    with talk(state) as hub:
        response = hub.get(f"/v1/agents/{quote(name, safe='')}/slots", limit=MAX_WAKES)
    if as_json:
        show.print_json("slots", response)
        return
    to_come = sorted(_times(response["slots"]), key=lambda row: str(row[1]))
    if to_come:
        show.print_table(("slot", "UTC", "local time", "duration", "note"), to_come)
    for slot in response["slots"]:
        if slot["paused_because"]:
            show.say(f"{slot['label']}: {slot['paused_because']}")
    if response["wakes"]:
        show.out()
        show.print_table(("slot", "started (UTC)", "result", "sent"), map(_wake_row, response["wakes"]))
    if not response["slots"]:
        show.say(f"agent {name} has no slots; add them to hub.toml: [[agents.slots]]")


def _times(slots: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for slot in slots:
        lasts = show.duration(slot["duration_s"])
        for time in slot["next_times"]:
            local = datetime.fromisoformat(time["local"])
            yield (
                slot["label"],
                show.short_moment(time["starts_at"], UTC),
                f"{local:%m-%d %H:%M} {show.offset(local)}",
                lasts,
                time["shift"],
            )


def _wake_row(wake: Mapping[str, Any]) -> Sequence[object]:
    times = "time" if wake["sends"] == 1 else "times"
    return wake["slot"], show.short_moment(wake["starts_at"], UTC), wake["said"], f"{wake['sends']} {times}"
