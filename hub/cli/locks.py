"""Commands on locks: list, and release by force."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

PATH: Final = "/v1/locks"


@click.group(cls=ListByDefault, epilog=example("hub locks ls --all"))
def locks() -> None:
    """List locks with their holders and queues, and release a lock by force."""


@locks.command("ls", epilog=example("hub locks ls --agent notes"))
@click.option("--agent", metavar="NAME", help="Only what this agent holds or waits for.")
@click.option("--all", "and_free", is_flag=True, help="Include free locks.")
@hub_option
@json_option
def list_locks(agent: str | None, and_free: bool, state: Path, as_json: bool) -> None:
    """List the locks that are held or waited for."""
    with talk(state) as hub:
        response = hub.get_all(PATH, "locks", agent=agent, free="true" if and_free else None)
    if as_json:
        show.print_json("locks", response)
        return
    show.print_table(
        ("lock", "user", "fence", "held by", show.in_zone("since"), show.in_zone("until"), "waiting"),
        (
            (
                lock["resource"],
                lock["user"],
                lock["fence"],
                _holder(lock["holder"]),
                show.short_moment(lock["since"]),
                show.short_moment(lock["until"]),
                ", ".join(_holder(wait["holder"]) for wait in lock["waiting"]),
            )
            for lock in response["locks"]
        ),
    )
    if not response["locks"]:
        show.say("no locks are held or waited for")


@locks.command("release", epilog=example("hub locks release mailbox:anna --yes"))
@click.argument("lock")
@click.option("--fence", type=click.IntRange(min=1), help="Only if the lock still has this fence.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def release(lock: str, fence: int | None, yes: bool, state: Path, as_json: bool) -> None:
    """Release LOCK by force; the next in its queue holds it then.

    The holder is not asked. Its requests under the old fence are refused from then on.
    """
    if not yes:
        show.confirm(f"take lock {lock} from its holder, which may still be using it?")
    body: dict[str, object] = {"resource": lock} | ({} if fence is None else {"fence": fence})
    with talk(state) as hub:
        response = hub.post(f"{PATH}/release", body)
    if as_json:
        show.print_json("lock", response)
    else:
        now = f"{_holder(response['holder'])} holds it now" if response["holder"] else "it is free now"
        show.say(f"{lock} is released; {now}")


def _holder(holder: Mapping[str, Any] | None) -> str:
    """Describe the holder of a lock: ``run 4e21 of notes``, ``device desk for notes``."""
    if holder is None:
        return ""
    agent = holder["agent"]
    match holder["kind"]:
        case "run":
            return f"run {show.short_id(holder['id'])}" + (f" of {agent}" if agent else "")
        case "device":
            return f"device {holder['device'] or holder['id']}" + (f" for {agent}" if agent else "")
    return str(holder["id"])
