"""Commands for diagnosis: stacks of a running hub, and an archive of diagnostics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hub.cli import show
from hub.cli.options import example, hub_option, json_option, state_option
from hub.cli.talk import talk
from hub.printable import one_line


@click.group(epilog=example("hub debug bundle hub-debug.tar.gz"))
def debug() -> None:
    """Inspect a running hub, or pack diagnostics into an archive.

    SIGUSR1 makes a hub write its dump to its log, even if it does not answer requests.
    """


@debug.command(epilog=example("hub debug dump"))
@hub_option
@json_option
def dump(state: Path, as_json: bool) -> None:
    """Print the stack of every task and thread."""
    with talk(state) as hub:
        response = hub.get("/v1/debug/dump")
    if as_json:
        show.print_json("dump", response)
        return
    show.print_facts(
        {
            "at": show.moment(response["at"]),
            "up for": show.duration(response["uptime_s"]),
            "event loop": f"{response['loop_lag_s'] * 1000:.1f} ms late",
            "devices": f"{response['connected']} connected, {response['pending_calls']} calls open, "
            f"{response['unsent_bytes']} bytes unsent",
            **{f"waiting: {name}": count for name, count in response["queues"].items()},
        }
    )
    for task in response["tasks"]:
        _print_stack(f"{task['count']} x {', '.join(task['names'])}", task)
    for thread in response["threads"]:
        _print_stack(f"thread {thread['name']}", thread)


@debug.command(epilog=example("hub debug bundle hub-debug.tar.gz"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@state_option
@json_option
def bundle(file: Path, config: Path, state: Path, as_json: bool) -> None:
    """Write an archive (.tar.gz) with status, log, metrics, dump and settings.

    It has no tokens, keys, passwords or contents of documents, but names of devices, agents and files:
    check it before you pass it on. Without a running hub it has only the parts from this machine.
    """
    from hub.cli.bundle import write_bundle

    missing = write_bundle(file, state=state, config=config, clock=show.clock)
    if as_json:
        show.print_json("bundle", {"file": str(file), "missing": missing})
        return
    show.say(f"wrote {file}")
    for name, why in missing.items():
        show.say(f"  without {name}: {why}")


def _print_stack(title: str, one: Mapping[str, Any]) -> None:
    show.out(f"\n{one_line(title)}")
    for place in one["stack"]:
        show.out(f"  {one_line(place)}")
