"""Commands on connectors: list, show, test, retry, sign in, delete the grant."""

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
        response = hub.get_all(PATH, "connectors")
    if as_json:
        show.print_json("connectors", response)
        return
    show.print_table(
        ("connector", "user", "provider", "account", "state", show.in_zone("last success"), "read by"),
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
            for one in response["connectors"]
        ),
    )
    for one in response["connectors"]:
        _say_problem(one)
    if not response["connectors"]:
        show.say("no connectors; add one to hub.toml: [[connectors]]")


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
        response = hub.post(f"{PATH}/{quote(connector, safe='')}/test")
    if as_json:
        show.print_json("test", response)
    else:
        show.print_table(
            (response["provider"], "result", "time", "detail"),
            (
                (step["step"], "ok" if step["is_ok"] else "failed", f"{step['took_ms']} ms", step["told"])
                for step in response["steps"]
            ),
        )
    if not response["is_ok"]:
        raise click.exceptions.Exit(1)


@connectors.command("retry", epilog=example("hub connectors retry mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def retry(connector: str, state: Path, as_json: bool) -> None:
    """Read messages of CONNECTOR again that could not be read, at the next run."""
    with talk(state) as hub:
        response = hub.post(f"{PATH}/{quote(connector, safe='')}/retry")
    if as_json:
        show.print_json("connector", response)
    else:
        show.say(f"connector {response['name']} is {_state(response)}")


@connectors.command("login", epilog=example("hub connectors login mail"))
@click.argument("connector", shell_complete=connector_names)
@click.option(
    "--way",
    type=click.Choice(["device", "paste", "code"]),
    help="Way to sign in [default: the browser of a device].",
)
@click.option(
    "--answer", metavar="URL", help="Last address of the browser, to complete a sign-in by --way paste."
)
@hub_option
@json_option
def login(connector: str, way: str | None, answer: str | None, state: Path, as_json: bool) -> None:
    """Sign in to CONNECTOR."""
    path = f"{PATH}/{quote(connector, safe='')}/sign-in"
    with talk(state) as hub:
        if answer is not None:
            response = hub.post(f"{path}/answer", {"address": answer})
        else:
            response = hub.post(path, {} if way is None else {"way": way})
    if as_json:
        show.print_json("sign_in", response)
        return
    if response["outcome"] is not None:
        show.say(
            f"signed in to {response['connector']}" if response["outcome"] == "done" else response["problem"]
        )
    elif response["way"] == "device":
        show.say("a browser was opened on your device; sign in there")
    elif response["way"] == "code":
        show.say(f"open {response['url']} and type {response['user_code']}")
    else:
        show.say(f"open {response['url']}")
        show.say(
            f"then paste the last address of the browser: hub connectors login {connector} --answer 'URL'"
        )


@connectors.command("rm", epilog=example("hub connectors rm mail"))
@click.argument("connector", shell_complete=connector_names)
@hub_option
@json_option
def forget(connector: str, state: Path, as_json: bool) -> None:
    """Give back the grant of CONNECTOR, and delete it. CONNECTOR stays in hub.toml."""
    with talk(state) as hub:
        response = hub.delete(f"{PATH}/{quote(connector, safe='')}/grant")
    if as_json:
        show.print_json("forgotten", response)
        return
    how = (
        "the provider revoked it"
        if response["is_revoked"]
        else "the provider did not confirm that it is revoked"
    )
    show.say(f"the grant of {response['name']} is deleted; {how}")


def _show(name: str, state: Path, *, as_json: bool) -> None:
    with talk(state) as hub:
        response = hub.get(f"{PATH}/{quote(name, safe='')}")
    if as_json:
        show.print_json("connector", response)
        return
    show.print_facts(
        {
            "connector": response["name"],
            "user": response["user"],
            "provider": response["provider"],
            "account": response["account"],
            "state": _state(response),
            "last success": show.moment(response["last_ok_at"]),
            "next try": show.moment(response["retry_at"]),
            "read by": ", ".join(response["agents"]),
        }
    )
    _say_problem(response)
    if response["unread"]:
        show.out()
        show.print_table(
            ("agent", "message", "state", "tries", "reason", show.in_zone("last try")),
            (
                (
                    one["agent"],
                    one["message"],
                    one["state"],
                    one["attempts"],
                    one["reason"],
                    show.short_moment(one["at"]),
                )
                for one in response["unread"]
            ),
        )


def _state(one: dict[str, Any]) -> str:
    if one["state"] == "sign_in":
        return "needs a sign-in"
    if one["state"] == "ok" and one["failures"]:
        return f"failed {one['failures']} times"
    return str(one["state"])


def _say_problem(one: dict[str, Any]) -> None:
    if one["detail"] is not None and one["state"] != "ok":
        hint = f"; hub connectors login {one['name']}" if one["state"] == "sign_in" else ""
        show.say(f"{one['name']}: {one['detail']}{hint}")
