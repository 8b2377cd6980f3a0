"""Commands ``hub devices``, ``pair``, ``token``, ``connectors``: tables, sign-in and pairing dialogs.

Most are declared.
"""

import json
import os
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import timedelta
from getpass import getuser
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from hub.base.atomic_file import write_atomically
from hub.base.name_lists import counted
from hub.base.printable import shell_word
from hub.cli import show
from hub.cli.declared import item_called, present
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import (
    HubClient,
    Responses,
    agent_names,
    connector_names,
    device_names,
    hub_command,
    open_client,
    path_of,
    speaks_tls,
)
from hub.cli.options import (
    NAME,
    DurationParam,
    FilePathParam,
    ListByDefault,
    default_state,
    example,
    hub_option,
    json_option,
)

DEVICES: Final = "/v1/devices"
TOKENS: Final = "/v1/tokens"
OPERATOR_TOKENS: Final = "/v1/operator-tokens"
GRANTS: Final = ("files", "agents", "connectors", "coordination")  # as in protocol.grants.Grant
SIGNS: Final = {"+": "add", "-": "remove"}
ABOUT_THE_STREAM: Final = ("open", "reset")  # events after which the list is read again
SESSIONS: Final = "/v1/sessions"
ROLES: Final = ("viewer", "operator", "admin")
_LEADS_TO: Final = '<!doctype html><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">Open</a>\n'


@click.group(cls=ListByDefault, epilog=example("hub devices ls --watch"))
def devices() -> None:
    """List, show, rename and revoke devices."""


@devices.command("ls", epilog=example("hub devices ls --all"))
@click.option("--all", "and_revoked", is_flag=True, help="Include revoked devices.")
@click.option("--watch", is_flag=True, help="Print the list again whenever a device changes.")
@hub_option
@json_option
def list_devices(and_revoked: bool, watch: bool, state: Path, as_json: bool) -> None:
    """List the devices."""
    with open_client(state) as hub, suppress(KeyboardInterrupt):  # Ctrl-C ends watching
        for response in _changes(hub) if watch else [hub.get_all(DEVICES, "devices")]:
            if as_json:
                show.print_json("devices", response, on_one_line=watch)
                continue
            if watch and sys.stdout.isatty():
                click.clear()
            present(
                {
                    "devices": [
                        device
                        for device in response["devices"]
                        if and_revoked or device["revoked_at"] is None
                    ]
                },
                rows="devices",
                table=(
                    *("name as device", "user as user~2", "connected", "platform as platform~3"),
                    *("*|last_seen as last seen~1", "grants as granted"),
                ),
                empty="no devices yet; admit one: hub connect on the device, then hub pair",
            )
            for device in response["devices"]:
                if device["because"] is not None:
                    show.report(f"{device['name']}: {device['because']}")


def _changes(hub: HubClient) -> Iterator[dict[str, Any]]:
    """Yield the devices now, and again after each event about a device."""
    for event in hub.follow("/v1/events"):
        if event["event"] in ABOUT_THE_STREAM or event["event"].startswith("device."):
            yield hub.get_all(DEVICES, "devices")


@devices.command(
    "grant",
    context_settings={"ignore_unknown_options": True},
    epilog=example("hub devices grant desk +coordination"),
)
@click.argument("device", shell_complete=device_names)
@click.argument("changes", metavar="+GRANT|-GRANT ...", nargs=-1, required=True)
@hub_command
def grant(hub: HubClient, device: str, changes: tuple[str, ...]) -> Responses:
    """Change a device's rights at this hub, from its next request or run on.

    \b
    files         Runs may read its files.
    agents        It may create, change and start agents.
    connectors    It may create and change agents that read its user's mailboxes and calendars.
    coordination  Its agents may use boards, messages, questions and locks.

    A new device has all grants except connectors. It receives suggestions without a grant.

    Example: hub devices grant laptop +connectors -files
    """
    wrong = [change for change in changes if change[:1] not in SIGNS or change[1:] not in GRANTS]
    if wrong:
        from protocol.owner_grants import OwnerGrant  # the help of a command needs it not

        problem = f"invalid change {wrong[0]!r}: expected + or - and one of {', '.join(GRANTS)}"
        step = "as in: hub devices grant laptop +connectors -files"
        if wrong[0][1:].partition("=")[0] in {*OwnerGrant}:
            sign, grant = wrong[0][0], shell_word(wrong[0][1:])
            typed = f"-- -{grant}" if sign == "-" else f"{sign}{grant}"
            step = f"the owner of the device grants that, on the device: hub grants {typed}"
        raise CommandError(problem, Exit.USAGE, next_step=step)
    both = {part: [change[1:] for change in changes if SIGNS[change[0]] == part] for part in SIGNS.values()}
    response = hub.post(path_of("devices", device, "grant"), both)
    yield "device", response
    show.report(f"{response['name']} is granted: {', '.join(response['grants']) or 'nothing'}")


@click.group(cls=ListByDefault, epilog=example("hub pair approve K7QM-2XRD"))
def pair() -> None:
    """Admit devices: by the code that a device shows, or by an invitation."""


@pair.command("approve", epilog=example("hub pair approve K7QM-2XRD --name desk"))
@click.argument("code")
@click.option("--name", metavar="NAME", help="Name of the device [default: the name that it proposes].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_command
def approve(hub: HubClient, code: str, name: str | None, yes: bool) -> Responses:
    """Admit the device that shows CODE, after you have compared its fingerprint.

    With --user, as that user's device. Only the device that you were shown is admitted.
    """
    body: dict[str, object] = {"code": code, "name": name}
    if not yes:
        would = hub.post("/v1/pairings/approve", body | {"dry_run": True})
        waiting = would["pairing"]
        facts = {
            "fingerprint": waiting["fingerprint"],
            "proposed name": waiting["label"],
            "platform": waiting["platform"],
            "network": waiting["network"],
        }
        show.print_facts(facts, err=True)
        if waiting["revoked_at"]:
            show.report(_let_in_again(would["device"], waiting["revoked_at"], "yes lets"))
        show.confirm(
            f"is the device's fingerprint the same? yes admits it as {would['device']} of {would['user']}"
        )
        body["pairing_id"] = waiting["id"]
    response = hub.post("/v1/pairings/approve", body)
    yield "paired", response
    if yes and response["pairing"]["revoked_at"]:
        show.report(_let_in_again(response["device"], response["pairing"]["revoked_at"], "this let"))
    show.report(f"{response['device']} of {response['user']} is admitted; it connects within seconds")


def _let_in_again(device: str, revoked_at: str, how: str) -> str:
    return (
        f"{device} was revoked at {show.moment(revoked_at)}: {how} it in again as the same device."
        " Its items, agents and grants stay, without the lines around their quotes; its old keys and"
        " tokens stay refused."
    )


@click.group(cls=ListByDefault, epilog=example("hub token create --role viewer --name grafana"))
def token() -> None:
    """Create, list and revoke the tokens of devices and operators."""


@token.command("create", epilog=example("hub token create --role viewer --name grafana --ttl 90d"))
@click.option(
    "--device",
    "devices",
    type=NAME,
    metavar="NAME",
    multiple=True,
    help="Create a token of this device, known or new; with --role, limit the token to this device.",
)
@click.option("--table", "tables", metavar="NAME", multiple=True, help="Limit it to this table.")
@click.option("--root", "roots", metavar="NAME", multiple=True, help="Limit it to this shared folder.")
@click.option(
    "--role", type=click.Choice(ROLES), help="Create a token of an operator or of a program, with this role."
)
@click.option("--name", metavar="NAME", help="Purpose of an operator's token.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="Give it this scope of its role; may be given several times. Needed for rows, review, answer.",
)
@click.option("--ttl", type=DurationParam(), metavar="TIME", help="Lifetime of the token, as in 90d or 12h.")
@hub_command
def create_token(
    hub: HubClient,
    devices: tuple[str, ...],
    tables: tuple[str, ...],
    roots: tuple[str, ...],
    role: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    ttl: float | None,
) -> Responses:
    """Create a token. It is printed once.

    With --user, a device's token is for that user's device, and an operator's token
    sees that user's devices, agents and runs only. With --role, --device, --table and
    --root limit the token; each may be given several times.
    """
    if role is None and len(devices) != 1:
        raise CommandError(
            "a token is for one device or for an operator: use --device once, or --role",
            Exit.USAGE,
            next_step="hub token create --device NAME, or: hub token create --role viewer --name NAME",
        )
    if role is None and (scopes or name or tables or roots):
        raise CommandError("--name, --scope, --table and --root need --role", Exit.USAGE)
    if role is None:
        (device,) = devices
        from protocol.errors import connect_command

        made = hub.post(TOKENS, {"device": device, "ttl_s": ttl})
        use = "On the device, put it", f"  {connect_command(device)} --token-file FILE"
    else:
        _check_tables(hub, tables)
        limits = {"devices": devices, "tables": tables, "roots": roots}
        body = {"name": name or role, "role": role, "scopes": scopes, "ttl_s": ttl, "limits": limits}
        made = hub.post(OPERATOR_TOKENS, body)
        until = show.moment(made["expires_at"])
        address = "https://HOST:8771"
        with suppress(
            CommandError, KeyError
        ):  # a caller of one user sees no settings; the token is shown anyway
            address = listener_address(hub)
        shows = "items ls" if any(limits.values()) else "status"
        use = f"It expires {until}. Put it", f"  hub {shows} --url {address} --token-file FILE"
    yield "token", made
    show.out(made["token"])
    if made.get("is_new_device"):
        show.report(f"{made['device']} is a new device of {made['user']}.")
    if made.get("revoked_at"):
        show.report(_let_in_again(made["device"], made["revoked_at"], "this let"))
    how, command = use
    show.report("The token is shown only once.", f"{how} into a file that only you can read, then:", command)


def _check_tables(hub: HubClient, names: Sequence[str]) -> None:
    """Refuse a limit to a table that the hub does not have."""
    from hub.settings.table_settings import unknown_tables

    known = [table["name"] for table in hub.get_all("/v1/tables", "tables")["tables"]] if names else []
    for _, (message, hint) in unknown_tables(names, known):
        raise CommandError(message, Exit.USAGE, next_step=hint)


@token.command("ls", epilog=example("hub token ls"))
@hub_command
def list_tokens(hub: HubClient) -> Responses:
    """List the tokens, and the sessions of browsers, without their secrets."""
    response = _all_tokens(hub)
    yield "tokens", response
    present(
        {
            "tokens": [
                *(token | {"whom": f"device {token['device']}"} for token in response["tokens"]),
                *(
                    token | {"whom": f"{token['role']} {token['name']}{_narrowed(token)}"}
                    for token in response["operator_tokens"]
                ),
                *(
                    session | {"whom": f"browser of {session['name']}{_narrowed(session)}"}
                    for session in response["sessions"]
                ),
            ]
        },
        rows="tokens",
        table=(
            *("id|id as token", "whom as for", "user|or_all", "last4 as ends in"),
            *("last_used_at|at as used", "expires_at|at as expires", "revoked_at|at as revoked"),
        ),
        empty="no tokens yet; create one: hub token create --device NAME, or --role viewer --name NAME",
    )


@token.command("revoke", epilog=example("hub token revoke 4e21a9 --yes"))
@click.argument("id", type=NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_command
def revoke_token(hub: HubClient, id: str, yes: bool) -> Responses:
    """Revoke a token and close its connection, or end the session of a browser.

    Six characters at the end of its ID are enough.
    """
    listed = _all_tokens(hub)
    found = item_called([token for tokens in listed.values() for token in tokens], id)
    if found is None:
        raise CommandError(
            f"there is no token {id!r}", Exit.FAILED, next_step="list the tokens: hub token ls"
        )
    noun, owner = ("tokens", "device") if "device" in found else ("operator-tokens", "name")
    if "opened_at" in found:
        noun = "sessions"
    if not yes:
        show.confirm(f"revoke the token of {found[owner]}?")
    yield "token", hub.send("DELETE", path_of(noun, found["id"]))
    show.report(f"the token of {found[owner]} is revoked")


def _narrowed(token: Mapping[str, Any]) -> str:
    """Return the scopes of a token in brackets, unless its role brings them by itself, and its limits."""
    from hub.base.roles import Role, scopes_of

    own = {str(scope) for scope in scopes_of(Role(token["role"]), ())}
    scopes = "" if own == set(token["scopes"]) else f" ({' '.join(token['scopes'])})"
    limits = [f"{kind} {' '.join(names)}" for kind, names in (token.get("limits") or {}).items() if names]
    return f"{scopes}, limited to {'; '.join(limits)}" if limits else scopes


def _all_tokens(hub: HubClient) -> dict[str, Any]:
    """Return the tokens of devices, and of operators and browsers if the caller may see them."""
    response = hub.get_all(TOKENS, "tokens")
    try:
        operators = hub.get_all(OPERATOR_TOKENS, "tokens")["tokens"]
        sessions = hub.get_all(SESSIONS, "sessions")["sessions"]
    except CommandError as refused:
        if refused.exit_code != Exit.NOT_PERMITTED:
            raise
        operators, sessions = [], []
    return response | {"operator_tokens": operators, "sessions": sessions}


@click.command("dashboard", epilog=example("hub dashboard --no-open"))
@click.option("--role", type=click.Choice(ROLES), help="Give the session this role [default: all rights].")
@click.option("--no-open", is_flag=True, help="Print the link only.")
@click.option("--qr", is_flag=True, help="Print the link, and as a QR code for a phone; open nothing.")
@hub_command
def dashboard(hub: HubClient, role: str | None, no_open: bool, qr: bool) -> Responses:
    """Sign a browser in at the hub's pages, with a link that works once.

    On the machine of a hub with one user, the session is that user's, with all rights, and the link ends
    after ten minutes. Otherwise, and with --role, the session is an operator's, and the link ends after a
    minute.

    With --user, the session sees that user's things only.
    """
    address = listener_address(hub)
    if qr and (missing := _missing_for_phones(hub.get("/v1/config"), urlsplit(address).port)):
        steps = f"{missing}; each step: hub help access, On a phone"
        raise CommandError("no phone reaches the page yet", Exit.SETTINGS, next_step=steps)
    owned = None if role else owners_link(hub)
    made = owned or hub.post(f"{SESSIONS}/links", {"role": role})
    within = "ten minutes" if owned else "a minute"
    link = f"{address}{made['path']}"
    yield "link", made | {"link": link}
    if not qr:
        show_link(link, default_state(), no_open=no_open, within=within)
        return
    show.out(link)
    show.qr_code(link)
    show.report(
        f"Scan the code within {within}; it works once. The phone has to trust the hub's certificate."
        + ("" if owned else " The session is an operator's: hub open, on a device, gives that of its owner.")
    )


def owners_link(hub: HubClient, device: str | None = None) -> Any:
    """Return a link to the page of a device's owner, who is the hub's only user; None: no such link is given.

    Without a name, the device is a connected one, or else another one.
    """
    if device is None:
        listed = [shown for shown in hub.get_all(DEVICES, "devices")["devices"] if not shown["revoked_at"]]
        if len({shown["user"] for shown in listed}) != 1:
            return None
        device = max(listed, key=lambda shown: bool(shown["connected"]))["name"]
    try:
        return hub.post(f"{SESSIONS}/links", {"owner_of": device})
    except CommandError as refused:
        if refused.exit_code != Exit.NOT_PERMITTED:
            raise
        return None


def listener_address(hub: HubClient, name: str = "operator") -> str:
    """Return the address of a listener, by default that of operators, as in http://127.0.0.1:8771."""
    config = hub.get("/v1/config")
    listener: Mapping[str, Any] = config["settings"]["listen"][name]
    where = hub.get("/v1/status")["listeners"].get(name)
    if where is None:
        next_step = f"see {name} in [listen] of hub.toml"
        raise CommandError(f"no port for {name.removesuffix('s')}s is open", Exit.FAILED, next_step=next_step)
    host, _, port = where.rpartition(":")
    if host in ("0.0.0.0", "[::]", "::"):
        host = "127.0.0.1"
    is_encrypted, names = listener.get("tls") is not None, listener.get("hosts", ())
    if f"listen.{name}.tls" in config["waiting"]:  # what runs has not read it
        is_encrypted = speaks_tls(host, int(port))
    if is_encrypted and names:
        host = names[0]
    return f"{'https' if is_encrypted else 'http'}://{host}:{port}"


def _missing_for_phones(config: Mapping[str, Any], port: int | None) -> str:
    """Return what is still to do until a phone reaches the page; empty: nothing."""
    listener = config["settings"]["listen"]["operator"]
    lines = {
        'hub tls init, and then tls = { certificate = "hub.crt", key = "hub.key" }': not listener.get("tls"),
        'hosts = ["NAME.local"], as hub tls init prints it': not listener.get("hosts"),
        f'address = "0.0.0.0:{port}"': not _is_for_others(listener["address"]),
    }
    missing = [line for line, lacks in lines.items() if lacks]
    steps = [f"in hub.toml, at [listen.operator]: {', '.join(missing)}"] if missing else []
    waits = any(key.startswith("listen.operator.") for key in config["waiting"])
    return "; ".join([*steps, "then: hub down, and hub up"]) if missing or waits else ""


def _is_for_others(address: str) -> bool:
    """Return whether other machines reach the address of a listener."""
    from hub.base.toml.values import HostPort

    return not HostPort.parse(address).is_loopback


def has_display(environ: Mapping[str, str]) -> bool:
    """Return whether a browser can show a window; one in the terminal would not run the pages."""
    return sys.platform in ("darwin", "win32") or any(map(environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def show_link(
    link: str,
    folder: Path | None,
    page: str = "",
    *,
    no_open: bool,
    as_json: bool = False,
    within: str = "a minute",
) -> None:
    """Print a link that signs in, leading to a page of the hub, and open it by a file in *folder*."""
    if page:
        link = link.replace("/login#", f"/login/{page}#")
    if as_json:
        show.print_json("opened", {"link": link})
    else:
        show.out(link)
    if no_open or not open_browser(link, folder, within):
        show.report(f"Open the link in a browser on this machine within {within}; it works once.")
        if "SSH_CONNECTION" in os.environ and (port := urlsplit(link).port):
            named = f"{getuser()}@{os.environ['SSH_CONNECTION'].split()[2]}"
            show.report(f"Or on the machine where you are, after: ssh -L {port}:127.0.0.1:{port} {named}")


def open_browser(link: str, folder: Path | None, within: str = "a minute") -> bool:
    """Open a link that signs in; return False if no browser was started.

    All users of a machine see the arguments of its processes. So the browser gets the path of a file in
    *folder* that leads to the link; its owner alone reads the file, and the next one replaces it.
    """
    if folder is None or not has_display(os.environ):
        return False
    file = folder.absolute() / "open.html"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, _LEADS_TO.format(escape(link)).encode(), mode=0o600)
    except OSError:
        return False
    if is_open := webbrowser.open(file.as_uri()):
        show.report(f"If the browser shows no page, as one from a snap: open the link above within {within}.")
    return is_open


@click.command("revoke-token", epilog=example("hub agents revoke-token notes 4e21a9 --yes"))
@click.argument("name", shell_complete=agent_names)
@click.argument("id", type=NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_command
def revoke_agent_token(hub: HubClient, name: str, id: str, yes: bool) -> Responses:
    """Revoke a token of an agent. Six characters at the end of its ID are enough."""
    found = item_called(hub.get_all(path_of("agents", name, "tokens"), "tokens")["tokens"], id)
    if found is None:
        next_step = f"list its tokens: hub agents tokens {name}"
        raise CommandError(f"agent {name} has no token {id!r}", Exit.FAILED, next_step=next_step)
    if not yes:
        show.confirm(f"revoke the token of {name} that ends in {found['last4']}?")
    yield "agent_token", hub.send("DELETE", path_of("agent-tokens", found["id"]))
    show.report(f"the token of {name} that ends in {found['last4']} is revoked")


@click.group(cls=ListByDefault, epilog=example("hub connectors test mail"))
def connectors() -> None:
    """List, test and sign in to mailboxes, chats and calendars."""


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
@hub_command
def login(hub: HubClient, connector: str, way: str | None, answer: str | None) -> Responses:
    """Sign in to CONNECTOR.

    One with a password asks for it, or reads it from standard input, and tests it.
    """
    way_in = hub.get(path_of("connectors", connector))["way_in"]
    if way_in is None:
        problem = f"{connector} has no sign-in here: it needs none, or hub.toml names its secret"
        raise CommandError(problem, Exit.USAGE, next_step=f"try it: hub connectors test {connector}")
    if way_in == "password":
        password = click.prompt("password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
        body = {"password": password.strip()}
        yield "connector", hub.send("PUT", path_of("connectors", connector, "password"), body=body)
        tested = hub.post(path_of("connectors", connector, "test"))
        yield "test", tested
        if not tested["is_ok"]:
            problem = f"{connector} has its password, and cannot be read: {tested['steps'][-1]['told']}"
            raise CommandError(problem, Exit.FAILED, next_step=tested["remedy"])
        show.report(f"{connector} can be read with its password")
        return
    path = path_of("connectors", connector, "sign-in")
    if answer is not None:
        response = hub.post(f"{path}/answer", {"address": answer})
    else:
        response = hub.post(path, {} if way is None else {"way": way})
    yield "sign_in", response
    if response["outcome"] is not None:
        show.report(
            f"signed in to {response['connector']}" if response["outcome"] == "done" else response["problem"]
        )
    elif response["way"] == "device":
        show.report("a browser was opened on your device; sign in there")
    elif response["way"] == "code":
        show.report(f"open {response['url']} and type {response['user_code']}")
    else:
        show.report(f"open {response['url']}")
        show.report(
            f"then paste the last address of the browser: hub connectors login {connector} --answer 'URL'"
        )


if TYPE_CHECKING:
    from hub.base.outbound.rules import OutboundRules
    from hub.connectors.connector import Connector, ConnectorClass

REMEDY: Final = "correct the manifest, --set or --secret; see: hub help manifests"
PERIOD: Final = timedelta(days=30)  # in which a check looks for messages
_SUFFIX: Final = {"python": "py", "node": "mjs"}  # of programs, by language
_SIGN_IN: Final = {"oauth2": "browser", "password": "password or token", "secret": "secret", "none": "none"}


@connectors.command(epilog=example("hub connectors providers"))
@json_option
def providers(as_json: bool) -> None:
    """List the providers that connectors can have, and the manifests that describe them."""
    from hub.connectors.catalogue import BUILT_IN, MANIFESTS, find, shipped

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


@connectors.command(epilog=example("hub connectors check rss --set url=https://example.org/feed.xml"))
@click.argument("manifest", metavar="FILE|PROVIDER")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A key of the settings.")
@click.option(
    "--secret", type=FilePathParam(dir_okay=False), metavar="FILE", help="File of the token or password."
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

    from hub.base.outbound.rules import OutboundRules
    from hub.connectors.catalogue import find, shipped
    from hub.connectors.manifest import kind_of_file

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
        raise CommandError(f"settings: {key}: {what}", Exit.USAGE, next_step=f"--set {key}=VALUE") from None
    token = ""
    if secret is not None:
        with using(secret, "read", Exit.USAGE):
            token = secret.read_text(encoding="utf-8").strip()
    with _of_manifest():
        rows = anyio.run(_first, kind, settings, token, OutboundRules.parse(allow), most)
    show.print_table(("received", "title", "author", "labels", "text"), rows)
    show.report(f"{counted(len(rows), 'message')} of the last {PERIOD.days} days")


@contextmanager
def _of_manifest() -> Iterator[None]:
    from hub.connectors.calling import ConnectorFailure

    try:
        yield
    except ConnectorFailure as error:
        raise CommandError(str(error), Exit.FAILED, next_step=REMEDY) from error


async def _first(
    kind: "ConnectorClass", settings: object, token: str, rules: "OutboundRules", most: int
) -> list[tuple[str, ...]]:
    from hub.base.clock import SystemChance, SystemClock
    from hub.base.outbound.client import OutboundClient
    from hub.connectors.calling import MAX_ANSWER_BYTES, ProviderCaller, Throttle
    from hub.connectors.connector import Context, documents_of

    clock, chance = SystemClock(), SystemChance()
    rows: list[tuple[str, ...]] = []
    async with OutboundClient(rules, max_answer_bytes=MAX_ANSWER_BYTES) as client:
        caller = ProviderCaller(
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
                async with aclosing(documents_of(connector, page.messages[: most - len(rows)])) as found:
                    async for message, result in found:
                        text = getattr(result, "text", None) or f"not read: {getattr(result, 'reason', '')}"
                        at = f"{message.received_at:%Y-%m-%d %H:%M}" if message.received_at else show.NOTHING
                        who = str(message.sender or show.NOTHING)
                        rows.append((at, message.subject, who, ", ".join(message.labels), text[:200]))
                if len(rows) >= most:
                    break
    return rows


@connectors.command(epilog=example("hub connectors new tickets --process python"))
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
    show.report(f"{file} is written; complete it, then: hub connectors check {shell_word(file)}")


def _new_program(name: str, language: str) -> None:
    if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        raise CommandError(f"{name!r} is no name of a folder", Exit.USAGE, next_step="use a-z, 0-9, - and _")
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
