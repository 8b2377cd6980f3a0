"""Declared commands: their interpreter over real commands, and their fields in the REST interface."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import given
from hypothesis import strategies as st

from hub.api.application import ANSWERED, openapi_document
from hub.api.nouns import questions
from hub.cli.declared import LEAST_END, item_called, present
from hub.cli.failure import Exit, Failure
from hub.cli.formats import FORMATS
from tests.hub.api.test_agent_configs import an_agent
from tests.hub.api.test_gateway_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.documents import COMMANDS
from tests.support.hub import ServedHub

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


def test_lists_of_an_empty_hub_are_a_sentence_or_an_envelope(hub: Hub, served: ServedHub) -> None:
    for spec in LISTS:
        words = spec["words"].split()
        shown, as_json = hub(*words), hub(*words, "--json")
        assert (shown.exit_code, as_json.exit_code) == (0, 0), (words, shown.output, as_json.output)
        envelope = json.loads(as_json.stdout)
        assert next(iter(envelope)) == "schema"
        assert envelope["schema"] == f"hub.{spec['json']}/1"
        assert shown.stdout or shown.stderr.strip() == spec["empty"]


def test_an_argument_that_is_left_out_has_its_default_or_shortens_the_path(
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


def test_a_name_is_one_part_of_the_path(hub: Hub, served: ServedHub) -> None:
    assert "there is no board 'roses?x=1'" in hub("boards", "show", "roses?x=1").stderr


def test_a_flag_sends_null_and_excludes_the_value(hub: Hub, board: str) -> None:
    ends(
        hub("boards", "edit", board, "--gateway", "office", "--no-gateway"),
        Exit.USAGE,
        "--gateway and --no-gateway exclude each other",
    )
    assert "name AGENT, or use --none" in hub("boards", "lead", board).stderr
    assert "AGENT and --none exclude each other" in hub("boards", "lead", board, "x", "--none").stderr
    assert json.loads(hub("boards", "edit", board, "--no-gateway", "--json").stdout)["gateway"] is None


def test_a_change_without_an_option_is_refused(hub: Hub, board: str) -> None:
    refused = hub("boards", "edit", board)
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith("Error: nothing to change\n  give an option for each change: hub boards")


def test_a_text_is_joined_from_words_or_read_from_standard_input(hub: Hub, board: str) -> None:
    asked = json.loads(hub("ask", "user", board, "Which", "colour?", "--json").stdout)
    read = json.loads(hub("ask", "user", board, "-", "--json", input="Which\ncolour?\n").stdout)
    assert (asked["content"], read["content"]) == ("Which colour?", "Which\ncolour?")


def test_a_question_needs_a_terminal_or_yes_and_asks_before_the_request(hub: Hub, board: str) -> None:
    ends(
        hub("boards", "delete", board),
        Exit.USAGE,
        "not done: delete board roses and its memory?\n  without a terminal",
    )
    assert hub("boards", "show", board).exit_code == 0
    assert hub("boards", "delete", board, "--yes").exit_code == 0
    assert hub("boards", "show", board).exit_code == Exit.FAILED


def test_a_default_is_sent_and_taken_back_by_a_flag(hub: Hub, board: str) -> None:
    id = json.loads(hub("ask", "user", board, "When?", "--json").stdout)["id"]
    hub("ask", "withdraw", id)
    assert json.loads(hub("ask", "ls", "--json").stdout)["questions"] == []
    assert [one["id"] for one in json.loads(hub("ask", "ls", "--all", "--json").stdout)["questions"]] == [id]


def test_a_cut_list_names_the_option_to_read_on(hub: Hub, board: str) -> None:
    for text in ("one", "two", "three"):
        assert hub("boards", "memory", board, "add", text).exit_code == 0
    listed = hub("boards", "memory", board, "ls", "--last", "2")
    assert "one" not in listed.stdout
    assert listed.stderr == "there are more: --last 4\n"
    assert hub("boards", "memory", board, "ls", "--last", "3").stderr == ""


def test_a_limit_beyond_a_page_of_the_hub_reads_on(
    hub: Hub, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MOST_LONG", 2)
    asked = {json.loads(hub("ask", "user", board, text, "--json").stdout)["id"] for text in "abcde"}
    for limit in range(1, 7):
        listed = json.loads(hub("ask", "ls", "--limit", str(limit), "--json").stdout)
        ids = [one["id"] for one in listed["questions"]]
        assert set(ids) <= asked
        assert len(ids) == len(set(ids)) == min(limit, len(asked))
        assert (listed["next_cursor"] is None) == (limit >= len(asked))


def test_an_id_is_named_by_its_end(hub: Hub, board: str) -> None:
    first, second = (json.loads(hub("ask", "user", board, text, "--json").stdout)["id"] for text in "ab")
    assert hub("ask", "show", first[-LEAST_END:]).stdout.splitlines()[0].split() == ["question", first]
    unknown = hub("ask", "show", second[-LEAST_END + 1 :])
    assert unknown.exit_code == Exit.FAILED  # too short an end is not searched for
    assert f"there is no question {second[-LEAST_END + 1 :]}" in unknown.stderr


@given(st.lists(st.text("ab", min_size=7, max_size=9), unique=True), st.text("ab", min_size=1, max_size=9))
def test_an_end_is_of_one_id_of_none_or_refused(ids: Sequence[str], end: str) -> None:
    called = [id for id in ids if id == end or (len(end) >= LEAST_END and id.endswith(end))]
    items = [{"id": id} for id in ids]
    if len(called) > 1:
        with pytest.raises(Failure, match="several ids end in") as several:
            item_called(items, end)
        assert several.value.exit_code == Exit.USAGE
    else:
        found = item_called(items, end)
        assert (found and found["id"]) == (called[0] if called else None)


def test_every_format_is_known_and_used() -> None:
    used = {format for spec in SPECS for _, format, _ in _columns(spec) if format}
    assert used - set(FORMATS) == set()
    assert set(FORMATS) - used == BY_HAND


def test_every_field_is_one_of_the_response_or_of_the_request() -> None:
    document = openapi_document(ANSWERED.values())
    schemas = document["components"]["schemas"]
    for spec in SPECS:
        responses = document["paths"][spec["path"]][spec["verb"].lower()]["responses"]
        status = min(status for status in responses if status.startswith("2"))
        response = responses[status]["content"]["application/json"]["schema"]
        row = _member(response, spec["rows"], schemas) if spec.get("rows") else response
        assert row is not None, spec["words"]
        for field, _, kind in _columns(spec):
            is_of_request = kind == "text" and field in spec.get("params", ())
            found = _member(row if kind == "row" else response, field, schemas)
            assert field == "*" or is_of_request or found is not None, f"hub {spec['words']}: {field}"


def test_a_response_whose_nullable_fields_are_null_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    document = openapi_document(ANSWERED.values())
    schemas = document["components"]["schemas"]
    for spec in SPECS:
        responses = document["paths"][spec["path"]][spec["verb"].lower()]["responses"]
        status = min(status for status in responses if status.startswith("2"))
        response = responses[status]["content"]["application/json"]["schema"]
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
