"""The commands ``hub connectors providers``, ``check`` and ``new``, which need no running hub."""

import json
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure, using
from hub.cli.options import NAME, FilePath, example, json_option

if TYPE_CHECKING:
    from hub.connectors.connector import Connector, ConnectorClass
    from hub.outbound.rules import OutboundRules

REMEDY: Final = "correct the manifest, --set or --secret; see: hub help manifests"
PERIOD: Final = timedelta(days=30)  # in which a check looks for messages
_SUFFIX: Final = {"python": "py", "node": "mjs"}  # of programs, by language
_SIGN_IN: Final = {"oauth2": "browser", "password": "password or token", "secret": "secret", "none": "none"}


@click.command(epilog=example("hub connectors providers"))
@json_option
def providers(as_json: bool) -> None:
    """List the providers that connectors can have, and the manifests that describe them."""
    from hub.connectors.connector import BUILT_IN, MANIFESTS, find, shipped

    rows = []
    for name in sorted({*BUILT_IN, *shipped()} - {"manifest"}):
        kind = find(name)
        found = getattr(kind, "manifest", None)
        about = found.about if found else (kind.__doc__ or "").partition(".")[0].partition("\n")[0]
        file = str(MANIFESTS / f"{name}.toml") if found else None
        rows.append({"name": name, "about": about, "sign_in": _SIGN_IN[kind.auth], "manifest": file})
    if as_json:
        show.print_json("providers", {"providers": rows})
    else:
        show.print_table(("provider", "what", "sign-in", "manifest"), [tuple(row.values()) for row in rows])
        show.report("a service without a provider: hub connectors new NAME writes a manifest for it")


@click.command(epilog=example("hub connectors check rss --set url=https://example.org/feed.xml"))
@click.argument("manifest", metavar="FILE|PROVIDER")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A key of the settings.")
@click.option(
    "--secret", type=FilePath(dir_okay=False), metavar="FILE", help="File of the token or password."
)
@click.option(
    "--allow", multiple=True, metavar="HOST", help="A private host that may be called, as in [outbound]."
)
@click.option("--most", type=click.IntRange(1, 100), default=5, show_default=True, help="Messages to show.")
def check(
    manifest: str, assignments: tuple[str, ...], secret: Path | None, allow: tuple[str, ...], most: int
) -> None:
    """Show the first messages that a manifest gives, read from the service itself."""
    import anyio
    from pydantic import ValidationError

    from hub.connectors.connector import find, shipped
    from hub.connectors.manifest import kind_of_file
    from hub.outbound.rules import OutboundRules

    given = dict(text.partition("=")[::2] for text in assignments)
    is_own = manifest not in shipped()
    with _of_manifest():
        kind = kind_of_file(Path(manifest)) if is_own else find(manifest)
    try:
        settings = kind.settings_model.model_validate(given | ({"manifest": manifest} if is_own else {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "KEY"
        what = first["msg"].removeprefix("Value error, ")
        raise Failure(f"settings: {key}: {what}", Exit.USAGE, next_step=f"--set {key}=VALUE") from None
    token = ""
    if secret is not None:
        with using(secret, "read", Exit.USAGE):
            token = secret.read_text(encoding="utf-8").strip()
    with _of_manifest():
        rows = anyio.run(_first, kind, settings, token, OutboundRules.parse(allow), most)
    show.print_table(("received", "title", "author", "labels", "text"), rows)
    show.report(f"{len(rows)} messages of the last {PERIOD.days} days")


@contextmanager
def _of_manifest() -> Iterator[None]:
    from hub.connectors.calling import ConnectorFailure

    try:
        yield
    except ConnectorFailure as error:
        raise Failure(str(error), Exit.FAILED, next_step=REMEDY) from error


async def _first(
    kind: "ConnectorClass", settings: object, token: str, rules: "OutboundRules", most: int
) -> list[tuple[str, ...]]:
    from hub.clock import SystemChance, SystemClock
    from hub.connectors.calling import MOST_ANSWER_BYTES, Caller, Throttle
    from hub.connectors.connector import Context
    from hub.outbound.client import OutboundClient

    clock, chance = SystemClock(), SystemChance()
    rows: list[tuple[str, ...]] = []
    async with OutboundClient(rules, max_answer_bytes=MOST_ANSWER_BYTES) as client:
        caller = Caller(
            client,
            tokens=None,
            throttle=Throttle(kind.quota(settings), clock),
            origins=kind.origins(settings),
            clock=clock,
            chance=chance,
            judge=kind.judge,
        )
        context = Context(account="check", clock=clock, chance=chance, caller=caller, secret=lambda: token)
        connector: Connector = kind(context, settings, kind.filter_model())
        async with aclosing(connector.pages(None, clock.now() - PERIOD)) as pages:
            async for page in pages:
                async with aclosing(connector.read(page.messages[: most - len(rows)])) as found:
                    async for message, result in found:
                        text = getattr(result, "text", None) or f"not read: {getattr(result, 'reason', '')}"
                        at = f"{message.received_at:%Y-%m-%d %H:%M}" if message.received_at else show.NOTHING
                        who = str(message.sender or show.NOTHING)
                        rows.append((at, message.subject, who, ", ".join(message.labels), text[:200]))
                if len(rows) >= most:
                    break
    return rows


@click.command(epilog=example("hub connectors new tickets --process python"))
@click.argument("name", type=NAME)
@click.option(
    "--process",
    "language",
    type=click.Choice(tuple(_SUFFIX)),
    help="Write a program in this language, which runs in a jail, and its tests, into the new folder NAME.",
)
def new(name: str, language: str | None) -> None:
    """Write NAME.toml: a manifest with comments, to be completed for a service."""
    if language is None:
        _new_manifest(name)
    else:
        _new_program(name, language)


def _new_manifest(name: str) -> None:
    from hub.connectors import manifest

    text = Path(manifest.__file__).with_name("example.toml").read_text(encoding="utf-8")
    file = Path(f"{name}.toml")
    with _of_manifest():
        manifest.load(text := text.replace("NAME", name), file.name)
    with using(file, "write", Exit.CANNOT_CREATE), file.open("x", encoding="utf-8") as opened:
        opened.write(text)
    show.report(f"{file} is written; complete it, then: hub connectors check {file}")


def _new_program(name: str, language: str) -> None:
    if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        raise Failure(f"{name!r} is no name of a folder", Exit.USAGE, next_step="use a-z, 0-9, - and _")
    suffix = _SUFFIX[language]
    kit, folder, program = files("hub.connectors.sdk"), Path(name), f"connector.{suffix}"
    command = json.dumps([language, program])
    with using(folder, "write into", Exit.CANNOT_CREATE):
        folder.mkdir()
        for file, source in (
            (f"hub_connector.{suffix}", f"hub_connector.{suffix}"),
            (program, f"{program}.txt"),
            ("test_connector.py", "test_connector.py.txt"),
        ):
            text = kit.joinpath(source).read_text("utf-8").replace("@NAME@", name)
            (folder / file).write_text(text.replace("@COMMAND@", command), "utf-8")
    show.report(
        f"wrote {folder / program}; test it: python -m pytest {folder}",
        "in hub.toml, next to which the folder lies:",
        "  [[connectors]]",
        f'  name = "{name}"',
        '  provider = "process"',
        f'  settings.folder = "{name}"',
        f"  settings.command = {command}",
        '  settings.origins = ["https://HOST"]',
        '  settings.options.url = "https://HOST"',
    )
