"""Shell completion of commands, and of the names and ids that the running hub has."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from hub.cli import show
from hub.cli.options import example, state_folder

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_HUB_COMPLETE"
_MOST: Final = 200  # newest runs that are offered

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(noun: str) -> Complete:
    """Return the completion of the names in the list of a *noun*: ``agents``, ``devices``, ..."""
    return _completion(lambda hub: (item["name"] for item in hub.get_all(f"/v1/{noun}", noun)[noun]))


def _completion(read: Callable[[Any], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from hub.cli.talk import talk

        state = ctx.params.get("state") or ctx.find_root().params.get("state")
        try:
            with ctx, talk(state_folder(state and str(state))) as hub:
                return [CompletionItem(name) for name in read(hub) if name.startswith(incomplete)]
        except click.ClickException:
            return []  # a shell cannot show why no hub answers

    return complete


def _run_ids(hub: Any) -> Iterable[str]:
    return (show.short_id(run["id"]) for run in hub.get("/v1/runs", limit=_MOST)["runs"])


def _setting_keys(hub: Any) -> Iterable[str]:
    from hub.cli.values import keys_of

    return (key for key, _ in keys_of(hub.get("/v1/config")["settings"]))


agent_names, device_names, board_names = names_of("agents"), names_of("devices"), names_of("boards")
template_names, user_names = names_of("templates"), names_of("users")
gateway_names, connector_names = names_of("gateways"), names_of("connectors")
run_ids, setting_keys = _completion(_run_ids), _completion(_setting_keys)


@click.command(epilog=example("hub completion bash"))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes names in a shell.

    Add eval "$(hub completion bash)" to ~/.bashrc; likewise for zsh. For fish: hub completion fish | source.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    show.out(kind(ctx.find_root().command, {}, "hub", _VARIABLE).source())
