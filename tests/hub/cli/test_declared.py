"""Declared commands: their interpreter over real commands, and their fields in the REST interface."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal
from hypothesis import given
from hypothesis import strategies as st

from hub.api.application import ANSWERED, openapi_document
from hub.api.resources import questions
from hub.base.clock import epoch_ms
from hub.base.roles import ROUTES
from hub.cli.declared import MIN_END, CommandSpec, item_called, present
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import FORMATS
from hub.cli.hub_client import OWN_ROUTES
from protocol.ids import AgentId, UserId
from protocol.work import Usage
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors import connectors
from storage.devices import users
from storage.runs import model_calls
from storage.runs.model_calls import ModelCall
from tests.hub.api.test_agent_configs import an_agent
from tests.hub.api.test_gateway_routes import keep
from tests.hub.api.test_lock_routes import keep as keep_locks
from tests.hub.cli.conftest import Hub, ends
from tests.support.clock import START
from tests.support.documents import COMMANDS
from tests.support.hub import TEXT, ServedHub, over_unix, serving

SPECS: list[dict[str, Any]] = json.loads(COMMANDS.read_text(encoding="utf-8"))["commands"]
LISTS = [
    spec
    for spec in SPECS
    if spec["verb"] == "GET" and not any(word.isupper() for word in spec["words"].split())
]
# Formats of commands that are written by hand.
BY_HAND = {
    "config_value",
    "hash",
    "or_all",
    "rounds",
    "run_message",
    "tagged",
}  # formats of commands that are written by hand


@pytest.fixture
def board(hub: Hub, served: ServedHub, portal: BlockingPortal) -> str:
    """The board roses of the gateway office."""
    portal.call(served.store.write, keep)
    assert hub("boards", "create", "roses", "--gateway", "office").exit_code == 0
    return "roses"


def test_list_commands_of_an_empty_hub_print_a_sentence_or_json_envelope(hub: Hub, served: ServedHub) -> None:
    for spec in LISTS:
        words = spec["words"].split()
        shown, as_json = hub(*words), hub(*words, "--json")
        assert (shown.exit_code, as_json.exit_code) == (0, 0), (words, shown.output, as_json.output)
        envelope = json.loads(as_json.stdout)
        assert (next(iter(envelope)), envelope["schema"]) == ("schema", f"hub.{spec['json']}/1")
        assert shown.stdout or shown.stderr.strip() == spec["empty"]


def test_omitted_argument_has_the_default_or_shortens_the_request_path(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, an_agent)
    checkpoint = ("agents", "checkpoints", "inbox")
    for scope in ([], ["mail"]):
        assert hub(*checkpoint, "put", *scope, "--sequence", "1", "--json-state", "{}").exit_code == 0
    assert json.loads(hub(*checkpoint, "show", "--json").stdout)["scope"] == "agent"
    assert json.loads(hub(*checkpoint, "show", "mail", "--json").stdout)["scope"] == "mail"
    capability = ("agents", "capabilities", "inbox")
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        assert hub(*capability, "put", "mail.read", version).exit_code == 0
    assert hub(*capability, "rm", "mail.read", "1.1.0").stderr == "removed: mail.read 1.1.0\n"
    assert hub(*capability, "rm", "mail.read").stderr == "removed: mail.read 1.2.0, mail.read 1.0.0\n"


def test_name_argument_is_escaped_as_a_single_path_part(hub: Hub, served: ServedHub) -> None:
    assert "there is no board 'roses?x=1'" in hub("boards", "show", "roses?x=1").stderr


def test_clearing_flag_sends_null_and_excludes_the_value_option(hub: Hub, board: str) -> None:
    ends(
        hub("boards", "edit", board, "--gateway", "office", "--no-gateway"),
        Exit.USAGE,
        "--gateway and --no-gateway exclude each other",
    )
    assert "name AGENT, or use --none" in hub("boards", "lead", board).stderr
    assert "AGENT and --none exclude each other" in hub("boards", "lead", board, "x", "--none").stderr
    assert json.loads(hub("boards", "edit", board, "--no-gateway", "--json").stdout)["gateway"] is None


def test_edit_command_without_a_change_option_is_a_usage_error(hub: Hub, board: str) -> None:
    refused = hub("boards", "edit", board)
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith("Error: nothing to change\n  give an option for each change: hub boards")


def test_text_argument_is_joined_from_words_or_read_from_stdin(hub: Hub, board: str) -> None:
    asked = json.loads(hub("ask", "user", board, "Which", "colour?", "--json").stdout)
    read = json.loads(hub("ask", "user", board, "-", "--json", input="Which\ncolour?\n").stdout)
    assert (asked["content"], read["content"]) == ("Which colour?", "Which\ncolour?")


def test_confirmation_needs_a_terminal_or_yes_and_precedes_the_request(hub: Hub, board: str) -> None:
    ends(
        hub("boards", "delete", board),
        Exit.USAGE,
        "not done: delete board roses and its memory?\n  without a terminal",
    )
    assert hub("boards", "show", board).exit_code == 0
    assert hub("boards", "delete", board, "--yes").exit_code == 0
    assert hub("boards", "show", board).exit_code == Exit.FAILED


def test_ask_ls_lists_open_questions_by_default_and_all_with_all(hub: Hub, board: str) -> None:
    id = json.loads(hub("ask", "user", board, "When?", "--json").stdout)["id"]
    hub("ask", "withdraw", id)
    assert json.loads(hub("ask", "ls", "--json").stdout)["questions"] == []
    assert [one["id"] for one in json.loads(hub("ask", "ls", "--all", "--json").stdout)["questions"]] == [id]


def test_cut_list_names_the_option_to_continue(hub: Hub, board: str) -> None:
    for text in ("one", "two", "three"):
        assert hub("boards", "memory", board, "add", text).exit_code == 0
    listed = hub("boards", "memory", board, "ls", "--last", "2")
    assert "one" not in listed.stdout
    assert listed.stderr == "there are more: --last 4\n"
    assert hub("boards", "memory", board, "ls", "--last", "3").stderr == ""


@pytest.mark.parametrize(
    ("most", "named"), [(1_000, "--limit 6"), (5, "--limit 5"), (3, "--limit 3 is the largest")]
)
def test_cut_list_names_no_limit_above_the_largest(
    capsys: pytest.CaptureFixture[str], most: int, named: str
) -> None:
    rows, limit = [{"id": id} for id in "abc"], CommandSpec(flag="--limit", max=most)
    present({"rows": rows, "next_cursor": "c"}, rows="rows", table=("id",), params={"limit": limit})
    assert capsys.readouterr().err.startswith(f"there are more: {named}")


def test_list_command_with_a_large_limit_reads_several_pages(
    hub: Hub, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_LONG", 2)
    asked = {json.loads(hub("ask", "user", board, text, "--json").stdout)["id"] for text in "abcde"}
    for limit in range(1, 7):
        listed = json.loads(hub("ask", "ls", "--limit", str(limit), "--json").stdout)
        ids = [one["id"] for one in listed["questions"]]
        assert set(ids) <= asked
        assert len(ids) == len(set(ids)) == min(limit, len(asked))
        assert (listed["next_cursor"] is None) == (limit >= len(asked))


def test_commands_find_a_question_by_the_end_of_the_id(hub: Hub, board: str) -> None:
    first, second = (json.loads(hub("ask", "user", board, text, "--json").stdout)["id"] for text in "ab")
    assert hub("ask", "show", first[-MIN_END:]).stdout.splitlines()[0].split() == ["question", first]
    unknown = hub("ask", "show", second[-MIN_END + 1 :])
    assert unknown.exit_code == Exit.USAGE  # too short an end is not searched for
    assert f"{second[-MIN_END + 1 :]!r} is too short: an end of an id has six characters" in unknown.stderr


@given(st.lists(st.text("ab", min_size=7, max_size=9), unique=True), st.text("ab", min_size=1, max_size=9))
def test_item_is_found_by_id_end_unless_the_end_is_ambiguous(ids: Sequence[str], end: str) -> None:
    called = [id for id in ids if id == end or (len(end) >= MIN_END and id.endswith(end))]
    items = [{"id": id} for id in ids]
    if len(called) > 1:
        with pytest.raises(CommandError, match="several ids end in") as several:
            item_called(items, end)
        assert several.value.exit_code == Exit.USAGE
    elif not called and len(end) < MIN_END and any(id.endswith(end) for id in ids):
        with pytest.raises(CommandError, match="is too short"):
            item_called(items, end)
    else:
        found = item_called(items, end)
        assert (found and found["id"]) == (called[0] if called else None)


def test_every_column_format_of_declared_commands_is_known_and_used() -> None:
    used = {format for spec in SPECS for _, format, _ in _columns(spec) if format}
    assert (used - set(FORMATS), set(FORMATS) - used) == (set(), BY_HAND)


def _responses() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]]:
    """Yield each declared command with the schema of its response, and those that it refers to."""
    document = openapi_document(ANSWERED.values())
    for spec in SPECS:
        responses = document["paths"][spec["path"]][spec["verb"].lower()]["responses"]
        status = min(status for status in responses if status.startswith("2"))
        response = responses[status]["content"]["application/json"]["schema"]
        yield spec, response, document["components"]["schemas"]


def test_every_column_of_declared_commands_is_a_field_of_the_api() -> None:
    for spec, response, schemas in _responses():
        row = _member(response, spec["rows"], schemas) if spec.get("rows") else response
        assert row is not None, spec["words"]
        for field, _, kind in _columns(spec):
            is_of_request = kind == "text" and field in spec.get("params", ())
            found = _member(row if kind == "row" else response, field, schemas)
            assert field == "*" or is_of_request or found is not None, f"hub {spec['words']}: {field}"


def test_declared_commands_print_responses_with_null_fields(capsys: pytest.CaptureFixture[str]) -> None:
    for spec, response, schemas in _responses():
        for items in (0, 1):
            fields = _with_nulls(response, schemas, items)
            arguments = dict.fromkeys(spec.get("params", ()), "x")
            present(
                {**arguments, **fields},
                **{**spec, "notes": (*spec.get("notes", ()), *spec.get("lines", ())[2:])},
            )
    lines = {line for line in "".join(capsys.readouterr()).splitlines() if "None" in line}
    assert lines == {"it is creating at gateway None; the hub keeps trying"}  # that state has a gateway


def _with_nulls(schema: dict[str, Any], schemas: dict[str, Any], items: int) -> Any:
    """Return a value of the schema: each field that may be null is null, each list has so many items."""
    if "$ref" in schema:
        return _with_nulls(schemas[schema["$ref"].rpartition("/")[2]], schemas, items)
    if {"type": "null"} in schema.get("anyOf", ()) or "null" in schema.get("type", ()):
        return None
    if "anyOf" in schema or "enum" in schema:
        return _with_nulls(schema["anyOf"][0], schemas, items) if "anyOf" in schema else schema["enum"][0]
    if schema.get("type") == "array":
        return [_with_nulls(schema["items"], schemas, items)] * items
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return {name: _with_nulls(field, schemas, items) for name, field in properties.items()}
    if schema.get("format") == "date-time":
        return "2026-01-05T09:14:00Z"
    return {"integer": 1, "number": 1.0, "boolean": False}.get(schema.get("type", ""), "x")


def _columns(spec: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield field, format and kind of each column and of each field in a text."""
    quoted = [one.partition("|")[0] for one in spec.get("quotes", ())]
    of_response = (
        *spec.get("facts", ()),
        *quoted,
        spec.get("prints"),
        spec.get("fails_if"),
        spec.get("total"),
    )
    of_notes = "row" if spec.get("table") and not spec.get("facts") else "response"
    kinds = [(column, "response") for column in of_response if column]
    kinds += [(column, "row") for column in (*spec.get("table", ()), *spec.get("lines", ())[2:])]
    kinds += [(column, "row") for column in [spec.get("below")] if column]
    kinds += [(column, of_notes) for column in spec.get("notes", ())]
    kinds += [(spec.get(name, ""), "text") for name in ("message", "empty")]
    for column, kind in kinds:
        content = column.partition(" as ")[0]
        for field, format in re.findall(r"\{([\w.*]+)\|?(\w*)\}", content):
            yield field, format, kind
        if kind != "text" and "{" not in content:
            field, _, format = content.partition("|")
            yield field, format, kind


def _member(schema: dict[str, Any], path: str, schemas: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a field, or of the items of a list; ``*`` is no field."""
    for name in path.split("."):
        while "$ref" in schema or "anyOf" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema["anyOf"][0]
        if name not in schema.get("properties", {}):
            return None
        schema = schema["properties"][name]
    items: dict[str, Any] = schema.get("items", schema)
    return items


def test_gateways_are_listed_and_shown_and_adopt_agents(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no gateways; add one to hub.toml" in hub("gateways").output
    portal.call(served.store.write, keep)
    shown = hub("gateways").output
    assert "office" in shown and "stopped" in shown and "0 of 2 online" in shown
    told = json.loads(hub("gateways", "ls", "--json").stdout)
    assert [one["name"] for one in told["gateways"]] == ["lab", "office", "theirs"]
    assert "0 of 3 ready" in hub("status").output
    assert "gateway office is stopped" in hub("gateways", "reconnect", "office").output

    shown = hub("gateways", "show", "office").output
    assert "stopped since" in shown
    assert "reader" in shown and "mc-agent-reader" in shown and "wanted" in shown
    assert hub("gateways", "office").output == shown
    assert json.loads(hub("gateways", "show", "office", "--json").stdout)["main_agent"] == "office-main"
    ends(hub("gateways", "show", "nowhere"), 1, output=("there is no gateway 'nowhere'",))

    assert hub("gateways", "adopt", "office", "writer", "--agent", "writer").output == (
        "agent writer lives at gateway office\n"
    )
    refused = hub("gateways", "adopt", "office", "other", "--agent", "writer")
    assert "agent 'writer' is 'writer' at gateway 'office' already" in refused.output
    made = json.loads(hub("gateways", "adopt", "office", "maker", "--json").stdout)
    assert (made["name"], made["gateway"]) == ("maker", "office")


def test_locks_are_listed_with_holders_and_queues_and_released_by_force(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no locks are held" in hub("locks").output
    portal.call(served.store.write, keep_locks)
    shown = hub("locks").output
    assert "mailbox" in shown and "device device-anna" in shown and "device device-bert" in shown
    assert "calendar" not in shown
    assert len(json.loads(hub("locks", "ls", "--all", "--json").stdout)["locks"]) == 4

    assert "printer is released; it is free now" in hub("locks", "release", "printer", "--yes").output
    ends(hub("locks", "release", "nothing", "--yes"), 1, output=("there is no lock 'nothing'",))
    late = hub("--user", "owner", "locks", "release", "mailbox", "--yes", "--fence", "9")
    assert "under fence 1, not 9" in late.output
    told = hub("--user", "owner", "locks", "release", "mailbox", "--yes", "--json")
    assert json.loads(told.stdout)["holder"]["id"] == "device-bert"


def test_keys_are_listed_rotated_and_forgotten_and_never_shown(hub: Hub, served: ServedHub) -> None:
    shown = hub("keys").output
    assert "a backup of the hub does not contain them" in shown
    (old,) = json.loads(hub("keys", "ls", "--json").stdout)["keys"]
    assert (old["rows"], old["is_newest"]) == (0, True)
    refused = hub("keys", "rm", old["id"], "--yes")
    assert refused.exit_code != 0
    assert "hub keys rotate" in refused.output
    rotated = json.loads(hub("keys", "rotate", "--json").stdout)["keys"]
    assert [one["id"] for one in rotated][1:] == [old["id"]]
    assert old["id"] not in hub("keys", "rm", old["id"], "--yes").output
    assert "there is no key" in hub("keys", "rm", old["id"], "--yes").output
    secret = (served.listening.unix.parent / "keys" / "credentials.keys").read_text().split()[-1]
    assert secret not in shown + hub("keys").output


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("", "post has its password, and cannot be read"),
        ('secret = { file = "pw" }', "by the secret that hub.toml names"),
    ],
)
def test_mailbox_password_is_stored_sealed_unless_hub_toml_names_a_secret(
    state: Path, portal: BlockingPortal, hub: Hub, secret: str, told: str
) -> None:
    mailbox = 'settings = { host = "imap.example.org", username = "ana" }'
    text = f'{TEXT}[[connectors]]\nname = "post"\nprovider = "imap"\n{mailbox}\n{secret}\n'
    state.mkdir(mode=0o700)
    (state / "pw").touch(0o600)
    (state / "pw").write_text("of the file\n")
    with portal.wrap_async_context_manager(serving(state, text)) as served:
        client = portal.wrap_async_context_manager(over_unix(served))
        with client as operator:
            given = portal.call(
                partial(operator.put, "/v1/connectors/post/password", json={"password": "x-y-z"})
            )
            assert (given.status_code == 200) is (secret == "")
            assert "x-y-z" not in given.text
        (row,) = json.loads(hub("connectors", "--json").stdout)["connectors"]
        assert (row["state"], row["way_in"]) == ("untested", None if secret else "password")
        if not secret:
            assert told in hub("connectors", "login", "post", input="p-q-r\n").output
            held = portal.call(served.store.read, connectors.find_credential, row["id"])
            assert held is not None and (held.version, b"p-q-r" in held.sealed) == (2, False)
        else:
            assert told in given.text


def spend(served: ServedHub, portal: BlockingPortal, *, cost_nanos: int = 1_234_000_000) -> None:
    """Store the cost of one call by an agent called mail."""

    def written(c: sa.Connection) -> None:
        owner = users.ensure_user(c, UserId("u-costs"), "somebody", 1)
        mail = DeclaredAgent(name="mail", device_name="desk-2", paths=("mail",))
        declared_agents.reconcile_declared(
            c, user_id=owner, declared=[mail], at=1, fresh_ids=["agent-mail", "d-2", "s-2", "u-2"]
        )
        call = ModelCall(
            id="c-1",
            at=epoch_ms(START) - 5,
            agent_id=AgentId("agent-mail"),
            user_id=owner,
            run_id=None,
            unit_key="a.md",
            question="q",
            model="large",
            outcome="answered",
            usage=Usage(requests=2, prompt_tokens=100, completion_tokens=7, cost_nanos=cost_nanos),
            took_ms=900,
        )
        model_calls.record_call(c, call)

    portal.call(served.store.write, written)


def test_costs_command_prints_a_table_with_the_total(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    spend(served, portal)
    told = [line.split() for line in hub("costs").stdout.splitlines()]
    assert told[0] == ["agent", "requests", "failed", "tokens", "in", "out", "USD"]
    assert told[1:] == [["mail", "1", "0", "100", "7", "1.2340"], ["total", "1", "0", "100", "7", "1.2340"]]


def test_costs_by_file_show_the_agent_of_each_file(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    spend(served, portal)
    assert hub("costs", "--by", "file").stdout.splitlines()[1].split()[:2] == ["a.md", "mail"]
    assert hub("costs", "--by", "day").stdout.splitlines()[1].split()[0] == "2026-01-05"


def test_costs_without_a_model_price_name_the_price_settings(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    spend(served, portal, cost_nanos=0)
    assert "price_in_usd" in hub("costs").stderr


def test_name_that_is_a_route_of_its_own_is_an_unknown_name(hub: Hub, served: ServedHub) -> None:
    shadowed = {
        other.path
        for one, other in product(ROUTES, ROUTES)
        if one.method == other.method and one.path != other.path and _is_like(one.path, other.path)
    }
    assert shadowed == OWN_ROUTES
    for noun in ("items", "runs"):
        for words in ([noun, "counts"], [noun, "show", "counts"]):
            ends(hub(*words), 1, f"none of the {noun} is called counts")


def _is_like(template: str, path: str) -> bool:
    """Return True if a value in *template* makes it *path*."""
    parts, others = template.split("/"), path.split("/")
    pairs = zip(parts, others, strict=False)
    return len(parts) == len(others) and all(part == other or part[:1] == "{" for part, other in pairs)


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({"success": 0, "waiting": 0}, "none"),
        ({"success": 2, "waiting": 5}, ["2 success", "5 waiting"]),
        ({"success": 999, "failed": 1_000}, ["999 success", "1000 or more failed"]),
    ],
)
def test_counts_of_a_summary_name_what_waits_and_where_counting_ended(
    counts: dict[str, int], shown: object
) -> None:
    assert FORMATS["tally"](counts) == shown
