"""Commands on connectors: whether they work, trying one, signing in, giving back what was granted."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import connector_names
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

PATH: Final = "/v1/connectors"


@click.group(cls=ListByDefault, epilog=example("hub connectors test mail"))
def connectors() -> None:
    """List, test and sign in to mailboxes, chats and calendars."""


@connectors.command("ls", epilog=example("hub connectors ls"))
@click.argument("name", required=False, shell_complete=connector_names)
@hub_option
@json_option
def list_connectors(name: str | None, state: Path, as_json: bool) -> None:
    """List the connectors of hub.toml, or show one."""
    if name is not None:
        _show(name, state, as_json=as_json)
        return
    with talk(state) as hub:
        told = hub.get_all(PATH, "connectors")
    if as_json:
        show.print_json("connectors", told)
        return
    show.print_table(
        ("connector", "user", "provider", "account", "state", show.in_zone("worked"), "read by"),
        (
            (
                one["name"],
                one["user"],
                one["provider"],
                one["account"],
                _state(one),
                show.short_moment(one["last_ok_at"]),
                ", ".join(one["agents"]),
            )
            for one in told["connectors"]
        ),
    )
    for one in told["connectors"]:
        _say_problem(one)
    if not told["connectors"]:
        show.say("no connector; write one in hub.toml: [[connectors]]")


@connectors.command("show", epilog=example("hub connectors show mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def show_connector(connector: str, state: Path, as_json: bool) -> None:
    """Show a connector: its state, and the messages that could not be read."""
    _show(connector, state, as_json=as_json)


@connectors.command("test", epilog=example("hub connectors test mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def test_connector(connector: str, state: Path, as_json: bool) -> None:
    """Sign in to CONNECTOR and read one message. Prints nothing of the message."""
    with talk(state) as hub:
        told = hub.post(f"{PATH}/{quote(connector, safe='')}/test")
    if as_json:
        show.print_json("test", told)
    else:
        show.print_table(
            (told["provider"], "", "took", "told"),
            (
                (step["step"], "ok" if step["is_ok"] else "failed", f"{step['took_ms']} ms", step["told"])
                for step in told["steps"]
            ),
        )
    if not told["is_ok"]:
        raise click.exceptions.Exit(1)


@connectors.command("retry", epilog=example("hub connectors retry mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def retry(connector: str, state: Path, as_json: bool) -> None:
    """Read messages of CONNECTOR again that could not be read, at the next run."""
    with talk(state) as hub:
        told = hub.post(f"{PATH}/{quote(connector, safe='')}/retry")
    if as_json:
        show.print_json("connector", told)
    else:
        show.say(f"connector {told['name']} is {_state(told)}")


@connectors.command("login", epilog=example("hub connectors login mail"))
@click.argument("connector", shell_complete=connector_names)
@click.option(
    "--way",
    type=click.Choice(["device", "paste", "code"]),
    help="By default a device's browser.",
)
@click.option("--answer", metavar="URL", help="Where the browser ended, of a sign-in by pasting.")
@hub_option
@json_option
def login(connector: str, way: str | None, answer: str | None, state: Path, as_json: bool) -> None:
    """Sign in to CONNECTOR."""
    path = f"{PATH}/{quote(connector, safe='')}/sign-in"
    with talk(state) as hub:
        if answer is not None:
            told = hub.post(f"{path}/answer", {"address": answer})
        else:
            told = hub.post(path, {} if way is None else {"way": way})
    if as_json:
        show.print_json("sign_in", told)
        return
    if told["outcome"] is not None:
        show.say(f"signed in to {told['connector']}" if told["outcome"] == "done" else told["problem"])
    elif told["way"] == "device":
        show.say("a browser was opened on your device; sign in there")
    elif told["way"] == "code":
        show.say(f"open {told['url']} and type {told['user_code']}")
    else:
        show.say(f"open {told['url']}")
        show.say(f"then paste where it ends: hub connectors login {connector} --answer 'URL'")


@connectors.command("rm", epilog=example("hub connectors rm mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def forget(connector: str, state: Path, as_json: bool) -> None:
    """Give back the grant of CONNECTOR, and delete it. CONNECTOR stays in hub.toml."""
    with talk(state) as hub:
        told = hub.delete(f"{PATH}/{quote(connector, safe='')}/grant")
    if as_json:
        show.print_json("forgotten", told)
        return
    how = "the provider took it back" if told["is_revoked"] else "the provider did not confirm it"
    show.say(f"what was granted to {told['name']} is forgotten; {how}")


def _show(name: str, state: Path, *, as_json: bool) -> None:
    with talk(state) as hub:
        told = hub.get(f"{PATH}/{quote(name, safe='')}")
    if as_json:
        show.print_json("connector", told)
        return
    show.print_facts(
        {
            "connector": told["name"],
            "user": told["user"],
            "provider": told["provider"],
            "account": told["account"],
            "state": _state(told),
            "worked": show.moment(told["last_ok_at"]),
            "tried again": show.moment(told["retry_at"]),
            "read by": ", ".join(told["agents"]),
        }
    )
    _say_problem(told)
    if told["unread"]:
        show.out()
        show.print_table(
            ("agent", "message", "state", "tries", "why", show.in_zone("last")),
            (
                (
                    one["agent"],
                    one["message"],
                    one["state"],
                    one["attempts"],
                    one["reason"],
                    show.short_moment(one["at"]),
                )
                for one in told["unread"]
            ),
        )


def _state(one: dict[str, Any]) -> str:
    if one["state"] == "sign_in":
        return "wants a sign-in"
    if one["state"] == "ok" and one["failures"]:
        return f"failed {one['failures']} times"
    return str(one["state"])


def _say_problem(one: dict[str, Any]) -> None:
    if one["detail"] is not None and one["state"] != "ok":
        hint = f"; hub connectors login {one['name']}" if one["state"] == "sign_in" else ""
        show.say(f"{one['name']}: {one['detail']}{hint}")
