"""``hub install-unit``: install the hub as a service of systemd."""

from pathlib import Path

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import example


@click.command("install-unit", epilog=example("hub install-unit --print"))
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default="/",
    help="Write below this folder, as for an image [default: /].",
)
@click.option("--yes", is_flag=True, help="Do not ask before a file is replaced.")
def install_unit(only_print: bool, root: Path, yes: bool) -> None:
    """Install the hub as a systemd service.

    Writes three units and the group hub-operators. Starts nothing; prints the next commands.
    """
    from hub.app.installed_units import here, is_out_of_reach, unit_files
    from hub.text.convert import prepare

    units = unit_files(*here())
    if only_print:
        show.out("\n".join(f"# ===== /{place}\n{text}" for place, text in units.items()), end="")
        return
    if is_out_of_reach(*here()):
        show.say(
            "warning: the service cannot read home folders, and this hub is installed in one;"
            " install it below /opt or /usr"
        )
    for place, text in units.items():
        _write(root / place, text, yes=yes)
    prepare()  # the service must not run files that it could have written itself
    show.say(
        "next: put hub.toml into /etc/hub (0644, no secret in it), then",
        "  systemd-sysusers && systemctl daemon-reload",
        "  systemctl enable --now hub.socket hub-admin.socket hub.service",
    )


def _write(file: Path, text: str, *, yes: bool) -> None:
    try:
        if file.exists() and file.read_text("utf-8") == text:
            show.say(f"{file} is up to date")
            return
        if file.exists() and not yes:
            show.confirm(f"replace {file}, which is different?")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except PermissionError as error:
        raise Failure(
            f"cannot write {file}: {error.strerror}",
            Exit.NOT_PERMITTED,
            next_step="run this as root, or print the files: hub install-unit --print",
        ) from error
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", Exit.CANNOT_CREATE) from error
    file.chmod(0o644)
    show.say(f"wrote {file}")
