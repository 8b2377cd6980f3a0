"""``hub eval``: the agent's own model over labelled documents, and the size of its chunks."""

import json
import math
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from selectolax.lexbor import LexborHTMLParser

from hub.base.printable import printable
from hub.cli.errors import Exit
from hub.extraction.endpoint import CHUNK_TOKENS
from hub.extraction.local_model import free_port
from hub.lab import command
from hub.lab.comparison import sign_test
from hub.lab.evaluation import MAX_SHOWN_CHARS, MAX_STORED
from hub.lab.gold import GoldDocument
from hub.lab.planted import planted_documents
from protocol.backoff import Backoff
from tests.hub.cli.conftest import Hub, ends
from tests.support.families import each
from tests.support.hub import ServedHub
from tests.support.oracle import MODEL_NAME, Fault, Oracle, plant
from tests.support.oracle.reader import Reader
from tests.support.written_forms import active_texts

SENTENCES = [
    plant("Anna", "send the quote", "2026-03-06", "K-0001"),
    plant("Otto", "book the van", "2026-03-07", "K-0002"),
    plant("Mei", "water the plants", "2026-03-08", "K-0003"),
]
TITLES = ["send the quote", "book the van", "water the plants"]


@pytest.fixture
def oracle(portal: BlockingPortal) -> Iterator[Oracle]:
    """A model's endpoint."""
    oracle = Oracle()
    task, _ = portal.start_task(oracle.serve)
    yield oracle
    task.cancel()


@pytest.fixture
def folder(tmp_path: Path, oracle: Oracle) -> Path:
    """A folder with a settings file whose model is *oracle*, and a gold file."""
    write_settings(tmp_path, oracle.base_url)
    write_gold(tmp_path, [document(number) for number in range(len(SENTENCES))])
    return tmp_path


def write_settings(folder: Path, base_url: str, *, model: str = "", agent: str = "", rest: str = "") -> None:
    file = folder / "hub.toml"
    file.write_text(
        f'[model]\nkind = "openai"\nbase_url = "{base_url}"\nname = "{MODEL_NAME}"\n'
        f"price_in_usd = 1.0\nprice_out_usd = 2.0\n{model}\n{rest}\n"
        '[[agents]]\nname = "notes"\ndevice = "desk"\npaths = ["/x"]\ndata_types = ["tasks"]\n'
        f'prompt = "Find the tasks."\n{agent}\n'
    )
    file.chmod(0o600)


def document(number: int, *, is_labelled: bool = True) -> dict[str, Any]:
    """One planted sentence in some prose, and its label."""
    quote = SENTENCES[number]
    due = f"2026-03-0{number + 6}"
    data = {"title": TITLES[number], "dueDate": due}
    label = {"table": "tasks", "quote": quote, "words": due, "data": data}
    text = f"It rained. {quote} Then we ate."
    return {"id": f"d{number}", "text": text, "date": "2026-03-01", "items": [label] if is_labelled else []}


def write_gold(folder: Path, documents: list[dict[str, Any]]) -> None:
    (folder / "gold.jsonl").write_text("\n".join(json.dumps(one) for one in documents))


def words_for(folder: Path, *more: str) -> list[str]:
    files = ["--config", str(folder / "hub.toml"), "--gold", str(folder / "gold.jsonl")]
    return ["eval", "notes", *files, *more]


def test_eval_prints_figures_cost_and_time(hub: Hub, folder: Path, oracle: Oracle) -> None:
    done = hub(*words_for(folder))
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["table", "labels", "found", "correct", "P", "R", "F1", "fields"]
    assert lines[1].split() == ["tasks", "3", "3", "3", "1.000", "1.000", "1.000", "1.000"]
    assert lines[2].split() == ["all", "3", "3", "3", "1.000", "1.000", "1.000", "1.000"]
    told = dict(line.rsplit(maxsplit=1) for line in lines[4:])
    assert (told["model"], told["documents"], told["requests"]) == (MODEL_NAME, "3", "3")
    assert told["tokens in"] == str(oracle.stats.prompt_tokens)
    assert float(told["USD"]) > 0


def test_second_eval_shows_changes_from_the_first(hub: Hub, folder: Path, oracle: Oracle) -> None:
    hub(*words_for(folder))
    oracle.play(Fault.MALFORMED_ANSWER, times=200)  # of nothing that it says can anything be made
    done = hub(*words_for(folder))
    (tasks,) = (line.split() for line in done.stdout.splitlines() if line.startswith("tasks"))
    assert tasks[:6] == ["tasks", "3", "=", "0", "-3", "0"]
    assert "0.000 -1.000" in done.stdout and "compared with" in done.stdout


def test_eval_json_includes_the_previous_figures(hub: Hub, folder: Path) -> None:
    hub(*words_for(folder))
    told = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (told["schema"], told["all"]["f1"], told["tables"]["tasks"]["right"]) == ("hub.eval/1", 1.0, 3)
    assert told["before"]["all"] == told["all"]
    assert (told["unparsable"], told["given_up"], told["failed"], told["unread"]) == (0, 0, 0, 0)


def test_eval_does_not_compare_figures_of_different_gold_documents(hub: Hub, folder: Path) -> None:
    hub(*words_for(folder))
    part = json.loads(hub(*words_for(folder, "--limit", "2", "--json")).stdout)
    assert (part["documents"], part["before"]) == (2, None)
    write_gold(folder, [document(0), document(1, is_labelled=False), document(2)])
    other = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (other["before"], other["all"]["precision"]) == (None, pytest.approx(2 / 3))


def test_eval_stores_the_last_twenty_evaluations(hub: Hub, folder: Path, state: Path) -> None:
    write_gold(folder, [document(0)])
    hub(*words_for(folder))
    file = state / "evaluations" / "owner" / "notes.json"
    first = json.loads(file.read_text())
    file.write_text(json.dumps(first * (MAX_STORED + 3)))
    assert (hub(*words_for(folder)).exit_code, len(json.loads(file.read_text()))) == (0, MAX_STORED)
    assert file.stat().st_mode & 0o777 == 0o600


def test_eval_reports_and_replaces_a_broken_file_of_earlier_figures(
    hub: Hub, folder: Path, state: Path
) -> None:
    hub(*words_for(folder))
    file = state / "evaluations" / "owner" / "notes.json"
    file.write_text("[{")
    ends(hub(*words_for(folder)), 0, f"{file}, so there is no comparison")
    assert len(json.loads(file.read_text())) == 1


def test_eval_refuses_an_invalid_gold_file_with_each_line(hub: Hub, folder: Path, oracle: Oracle) -> None:
    broken = document(1)
    broken["items"][0]["quote"] = "Otto books a van"
    write_gold(folder, [document(0), broken])
    with (folder / "gold.jsonl").open("a") as file:
        file.write("\n{]")
    done = hub(*words_for(folder))
    gold = folder / "gold.jsonl"
    assert done.exit_code == 78
    assert done.stderr.splitlines() == [
        f"{gold}:2: items[0]: quote: is not in the text; copy it letter by letter",
        f"{gold}:3: column 2: no JSON: Expecting property name enclosed in double quotes",
    ]
    assert oracle.stats.calls == 0


def test_eval_refuses_invalid_arguments_and_gold_files(
    hub: Hub, folder: Path, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    config = ("--config", str(folder / "hub.toml"))
    for words, code, said in (
        (words_for(folder, "--limit", "0"), Exit.USAGE, ""),
        (words_for(folder, "--least-f1", "2"), Exit.USAGE, ""),
        (words_for(folder, "another"), Exit.USAGE, ""),
        (words_for(folder, "--against-prompt", "hub.toml", "--against-model", "other"), Exit.USAGE, ""),
        (("eval", "nobody", *config), Exit.USAGE, "there is no agent nobody"),
        (("eval", "notes", *config), Exit.USAGE, "--gold FILE"),
    ):
        ends(hub(*words), code, said)
    (folder / "gold.jsonl").write_bytes(b"{}\n\xff")
    ends(hub(*words_for(folder)), Exit.SETTINGS, f"{folder}/gold.jsonl:2: not UTF-8\n")
    assert oracle.stats.calls == 0
    write_settings(folder, "https://models.example/v1", agent="allow_cloud = false")
    write_gold(folder, [document(0)])
    ends(hub(*words_for(folder)), Exit.SETTINGS, "allow_cloud")
    (folder / "hub.toml").write_text("[model")
    ends(hub(*words_for(folder)), Exit.SETTINGS, "hub.toml:1:")


def test_eval_misses_shows_missed_and_false_items_with_sentences(hub: Hub, folder: Path) -> None:
    missed = document(0)
    missed["text"] += " Eve has to call the mayor today. It snowed."
    label = {"table": "tasks", "data": {"title": "call the mayor"}, "quote": "call the mayor"}
    missed["items"].append(label)
    write_gold(folder, [missed, document(1, is_labelled=False)])
    lines = hub(*words_for(folder, "--misses")).stdout.splitlines()
    shown = lines[lines.index("missed: d0: tasks: call the mayor") :]
    assert shown == [
        "missed: d0: tasks: call the mayor",
        "",
        "    Eve has to call the mayor today.",
        "",
        "false: d1: tasks: book the van",
        "",
        f"    {SENTENCES[1]}",
    ]
    told = json.loads(hub(*words_for(folder, "--misses", "--json")).stdout)
    place = {"document": "d0", "table": "tasks", "name": "call the mayor"}
    assert told["missed"] == [{**place, "sentence": "Eve has to call the mayor today."}]
    assert [one["sentence"] for one in told["false"]] == [SENTENCES[1]]


def test_eval_misses_shows_wrong_fields_with_expected_and_found_values(hub: Hub, folder: Path) -> None:
    documents = [document(number) for number in range(2)]
    documents[0]["items"][0]["data"] |= {"assignee": ["Bo"], "dueDate": "2026-03-06"}
    documents[1]["items"][0]["data"] |= {"priority": "high", "dueDate": "2026-03-17"}
    documents[1]["items"][0].pop("words")
    write_gold(folder, documents)
    lines = hub(*words_for(folder, "--misses")).stdout.splitlines()
    assert [line for line in lines if line.startswith(("missed", "false", "wrong"))] == [
        "wrong: d0: tasks: send the quote: assignee: expected Bo, found Anna",
        "wrong: d1: tasks: book the van: dueDate: expected 2026-03-17, found 2026-03-07",
        "wrong: d1: tasks: book the van: priority: expected high, found nothing",
    ]
    assert lines[-1] == f"    {SENTENCES[1]}"
    page = folder / "report.html"
    told = json.loads(hub(*words_for(folder, "--misses", "--json", "--html", str(page))).stdout)
    assert told["wrong"][0] == {
        "document": "d0",
        "table": "tasks",
        "name": "send the quote",
        "sentence": SENTENCES[0],
        "field": "assignee",
        "expected": "Bo",
        "found": "Anna",
    }
    assert "<h2>wrong (3)</h2>" in page.read_text()
    assert "priority: expected high, found nothing</p>" in page.read_text()


def test_eval_misses_cuts_a_text_without_sentences(hub: Hub, folder: Path) -> None:
    text = "and " * 5_000 + "call the mayor " + "or " * 5_000
    label = {"table": "tasks", "data": {"title": "call the mayor"}, "quote": "call the mayor"}
    write_gold(folder, [{"id": "long", "text": text, "items": [label]}])
    (missed,) = json.loads(hub(*words_for(folder, "--misses", "--json")).stdout)["missed"]
    assert "call the mayor" in missed["sentence"]
    assert len(missed["sentence"]) == MAX_SHOWN_CHARS + 2


def test_eval_html_report_is_self_contained_and_escapes_hostile_texts(hub: Hub, folder: Path) -> None:
    hostile = "</blockquote><script>alert('x')</script><img src=//evil.example/x>\u202e"
    text = f"{hostile} must be read {hostile}."
    label = {"table": "tasks", "data": {"title": hostile}, "quote": text}
    write_gold(folder, [{"id": "<b>d</b>", "text": text, "items": [label]}])
    page = folder / "report.html"
    assert hub(*words_for(folder, "--html", str(page))).exit_code == 0
    seen = _Seen()
    seen.feed(page.read_text())
    assert seen.tags.isdisjoint({"script", "img", "link", "b", "iframe"})
    assert not {"src", "href", "onload"} & seen.attributes
    assert "default-src 'none'" in page.read_text()
    assert text.replace("\u202e", "\\u202e") in seen.text
    assert page.stat().st_mode & 0o777 == 0o600


def test_eval_with_an_unwritable_html_report_exits_with_73(hub: Hub, folder: Path) -> None:
    ends(hub(*words_for(folder, "--html", str(folder / "none" / "report.html"))), 73, "cannot write")


class _Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags = set[str]()
        self.attributes = set[str]()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_eval_against_another_prompt_compares_label_by_label(hub: Hub, folder: Path, oracle: Oracle) -> None:
    prompt = folder / "short.txt"
    prompt.write_text("Anything for Otto?")
    write_gold(folder, [document(0), document(1), document(2), document(0) | {"id": "d3"}])
    # The oracle answers the first questions with nothing that can be used, so that the agent misses one.
    oracle.play(Fault.MALFORMED_ANSWER, times=2)
    words = words_for(folder, "--against-prompt", str(prompt))
    told = json.loads(hub(*words, "--limit", "1", "--json").stdout)
    against = told["against"]
    assert (told["all"]["recall"], against["all"]["recall"]) == (0.0, 1.0)
    assert against["only_against"] == [{"document": "d0", "table": "tasks"}]
    assert (against["both"], against["neither"], against["only_agent"], against["sign_test"]) == (
        0,
        0,
        [],
        1.0,
    )
    assert "Anything for Otto?" in str(oracle.requests[-1]["messages"][0])
    assert told["prompt"] != against["prompt"]
    shown = hub(*words, "--misses").stdout
    rows = {line.rsplit("  ", 1)[0].strip(): line.split()[-1] for line in shown.splitlines() if line}
    assert (rows["labels found by both"], rows["by neither"], rows[f"only by {prompt}"]) == ("4", "0", "0")
    assert "p = 1.000: the difference of labels may be chance" in shown


def test_eval_against_model_uses_a_fallback_model_or_the_first_endpoint(
    hub: Hub, folder: Path, oracle: Oracle, portal: BlockingPortal
) -> None:
    lazy = Oracle(most_records=0)
    task, _ = portal.start_task(lazy.serve)
    fallback = f'[[fallback_models]]\nkind = "openai"\nbase_url = "{lazy.base_url}"\nname = "lazy"'
    write_settings(folder, oracle.base_url, rest=fallback)
    against = json.loads(hub(*words_for(folder, "--against-model", "lazy", "--json")).stdout)["against"]
    assert (against["model"], against["all"]["recall"], len(against["only_agent"])) == ("lazy", 0.0, 3)
    assert {one["model"] for one in lazy.requests} == {"lazy"}
    json.loads(hub(*words_for(folder, "--against-model", "newer", "--json")).stdout)
    assert {one["model"] for one in oracle.requests} == {MODEL_NAME, "newer"}
    task.cancel()


def test_eval_uses_shared_settings_with_the_file_of_the_running_hub(
    hub: Hub, served: ServedHub, folder: Path, oracle: Oracle
) -> None:
    shared = folder / "shared.toml"
    # Published as it would be for all nodes; the agent of the bench stays in its own file.
    shared.write_text((folder / "hub.toml").read_text().replace("notes", "minutes"))
    ends(hub("config", "push", str(shared)), 0)
    gold = ("--gold", str(folder / "gold.jsonl"), "--json")
    own = ("--config", str(served.settings))
    told = json.loads(hub("eval", "minutes", *own, *gold).stdout)
    assert (told["model"], told["all"]["f1"]) == (MODEL_NAME, 1.0)
    assert (
        "there is no agent minutes"
        in hub("eval", "minutes", *gold, "--config", str(folder / "hub.toml")).stderr
    )
    assert json.loads(hub(*words_for(folder, "--json")).stdout)["all"]["f1"] == 1.0


def test_eval_history_lists_the_last_evaluations(hub: Hub, folder: Path, oracle: Oracle) -> None:
    hub(*words_for(folder))
    write_settings(folder, oracle.base_url, model="chunk_tokens = 700")
    hub(*words_for(folder, "--limit", "2"))
    calls = oracle.stats.calls
    words = ("eval", "notes", "--history", "--config", str(folder / "hub.toml"))
    told = json.loads(hub(*words, "--json").stdout)
    assert [one["documents"] for one in told["evaluations"]] == [3, 2]
    assert [one["chunk_tokens"] for one in told["evaluations"]] == [CHUNK_TOKENS, 700]
    header, *rows = hub(*words).stdout.splitlines()
    assert [row.split()[-6:-3] for row in rows] == [["1.000", "1.000", "1.000"]] * 2
    assert (header.split()[-3:], oracle.stats.calls) == (["requests", "tokens", "USD"], calls)


def test_eval_below_the_required_f1_exits_with_1(hub: Hub, folder: Path, oracle: Oracle) -> None:
    assert hub(*words_for(folder, "--least-f1", "1.0")).exit_code == 0
    write_gold(folder, [document(0), document(1, is_labelled=False)])
    ends(
        hub(*words_for(folder, "--least-f1", "0.9")),
        1,
        "not met: F1 is 0.667; at least 0.9 on all documents is required",
    )


def test_the_budget_of_a_run_limits_an_evaluation(
    hub: Hub, folder: Path, oracle: Oracle, state: Path
) -> None:
    write_settings(folder, oracle.base_url, rest="[budget]\nrun_tokens = 1")
    done = hub(*words_for(folder, "--least-f1", "0.1"))
    assert (done.exit_code, oracle.stats.calls) == (1, 0)
    assert "3 documents not read: the budget budget.run_tokens = 1 is reached" in done.stderr
    assert not (state / "evaluations").exists()


def test_answers_without_records_and_documents_without_answers_are_counted(
    hub: Hub, folder: Path, oracle: Oracle
) -> None:
    write_gold(folder, [document(0)])
    oracle.play(Fault.MALFORMED_ANSWER)
    told = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (told["unparsable"], told["failed"], told["all"]["f1"]) == (1, 0, 1.0)
    oracle.play(Fault.MALFORMED_ANSWER, times=200)
    told = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (told["failed"], told["all"]["recall"]) == (1, 0.0)
    assert told["unparsable"] >= 2


def test_eval_leaves_out_labels_of_tables_outside_the_agent_data_types(hub: Hub, folder: Path) -> None:
    other = document(0)
    other["items"].append({"table": "notes", "data": {"title": "rain"}, "quote": "It rained."})
    write_gold(folder, [other])
    done = hub(*words_for(folder))
    assert "1 labels left out: their tables are not in data_types of this agent" in done.stderr
    assert "notes" not in done.stdout


def test_eval_without_model_quota_or_answer_exits_with_69(
    hub: Hub, folder: Path, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle.play(Fault.SPENT_QUOTA, times=9)
    assert hub(*words_for(folder)).exit_code == 69
    monkeypatch.setattr("hub.extraction.endpoint._BACKOFF", Backoff(base_s=0.001, cap_s=0.001))
    write_settings(folder, f"http://127.0.0.1:{free_port()}/v1")
    ends(hub(*words_for(folder)), 69)


def without_model(folder: Path) -> list[str]:
    settings = (folder / "hub.toml").read_text()
    (folder / "hub.toml").write_text(settings[settings.index("[[agents]]") :])
    (folder / "own").mkdir()
    return ["eval", "notes", "--config", str(folder / "hub.toml"), "--gold", str(folder / "own")]


def test_eval_of_a_folder_reports_figures_by_file_kind(hub: Hub, folder: Path) -> None:
    words = without_model(folder)
    own = folder / "own"
    (own / "a.md").write_text(
        "# Work\n\n- [ ] call the plumber\n- [ ] buy milk\n- [x] pay\n- [ ] paint the door\n\n"
        "It is March. The roof garden is dry.\n"
    )
    (own / "b.txt").write_text("Nothing to do.\n")
    (own / "old.txt").write_bytes(b"\0\1\2")
    listed = {
        "a.md": {
            "date": "2026-03-01",
            "items": [
                {"table": "tasks", "title": "call the plumber", "dueDate": "2026-03-06"},
                {"table": "tasks", "title": "buy milk", "optional": True},
                {"table": "tasks", "title": "water the roof"},
            ],
        },
        "b.txt": {"items": []},
        "old.txt": {"items": [{"table": "tasks", "title": "sing"}], "kind": "damaged"},
    }
    (own / "expected.json").write_text(json.dumps(listed))
    shown = json.loads(hub(*words, "--misses", "--json").stdout)
    figures = {kind: (one["labels"], one["found"], one["right"]) for kind, one in shown["kinds"].items()}
    assert figures == {".md": (2, 2, 1), ".txt": (0, 0, 0), "damaged": (1, 0, 0)}
    assert [(one["name"], one["sentence"]) for one in shown["missed"]] == [
        ("water the roof", "The roof garden is dry."),
        ("sing", ""),
    ]
    assert [(one["found"], one["sentence"]) for one in shown["wrong"]] == [("", "- [ ] call the plumber")]
    assert [one["name"] for one in shown["false"]] == ["paint the door"]
    done = hub(*words)
    ends(done, 0, "no model is set, so only rules")
    lines = done.stdout.splitlines()
    assert [line.split()[:4] for line in lines if line.startswith(("kind", ".md"))] == [
        ["kind", "labels", "found", "correct"],
        [".md", "2", "=", "2"],
    ]


def test_mistakes_in_the_listing_of_a_folder_are_reported_with_the_name_of_the_file(
    hub: Hub, folder: Path
) -> None:
    words = without_model(folder)
    own = folder / "own"
    ends(hub(*words), Exit.SETTINGS, f"{own}: there is no expected.json")
    (own / "a.md").write_text("- [ ] call the plumber\n")
    listed = {
        "a.md": {"items": [{"table": "tasks", "titel": "x"}]},
        "b.md": {"items": []},
        "a.md/": {"items": [], "timezone": "Mars"},
    }
    (own / "expected.json").write_text(json.dumps(listed))
    (own / "deeper").mkdir()
    (own / "deeper" / "expected.json").write_text("[")
    done = hub(*words)
    assert done.exit_code == Exit.SETTINGS
    assert [line.removeprefix(f"{own}: ").partition(";")[0] for line in done.stderr.splitlines()] == [
        "deeper/expected.json: column 2: no JSON: Expecting value",
        "expected.json: a.md: items[0]: data.titel: not a field that a document can have",
        "expected.json: b.md: there is no such file",
        "expected.json: a.md/: it is no name of a file beside this one",
    ]


@each(
    ("one", "other", "chance"),
    [(0, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 32), (1, 8, 20 / 512), (12, 2, 2 * 106 / 2**14)],
)
def test_sign_test_returns_the_exact_probability(one: int, other: int, chance: float) -> None:
    assert sign_test(one, other) == sign_test(other, one) == pytest.approx(chance)


def test_eval_reads_labels_of_a_declared_table(hub: Hub, folder: Path, oracle: Oracle) -> None:
    label = {"table": "contacts", "quote": SENTENCES[0], "data": {"name": "Anna"}}
    write_gold(folder, [{"id": "c", "text": SENTENCES[0], "items": [label]}])
    ends(hub(*words_for(folder)), Exit.SETTINGS, "table: 'contacts' is none")
    declared = (
        '[[tables]]\nname = "contacts"\ndescription = "people"\nkey = ["name"]\nfields = [{name = "name"}]'
    )
    write_settings(folder, oracle.base_url, rest=declared)
    settings = folder / "hub.toml"
    settings.write_text(settings.read_text().replace('["tasks"]', '["tasks", "contacts"]'))
    done = hub(*words_for(folder, "--json"))
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["tables"]["contacts"]["labels"] == 1


DOCUMENTS = planted_documents(count=1, facts=25)
ReaderWith = Callable[..., Reader]


@pytest.fixture
def reader_with(portal: BlockingPortal) -> Iterator[ReaderWith]:
    """A model's endpoint that finds what is planted, as well as it is told to."""
    tasks = []

    def reader_with(**traits: Any) -> Reader:
        reader = Reader([*DOCUMENTS, *planted_documents()], **traits)
        tasks.append(portal.start_task(reader.serve)[0])
        return reader

    yield reader_with
    for task in tasks:
        task.cancel()


def written(document: GoldDocument) -> str:
    """A document as a line of a gold file."""
    items = [
        {
            "table": label.table,
            "data": label.data | ({"date": "2027-01-01"} if label.table == "timelines" else {}),
            "quote": document.text[slice(*label.places[0])],
        }
        for label in document.labels
    ]
    return json.dumps({"id": document.id, "text": document.text, "items": items})


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a gold file of planted facts; its settings are written by the test."""
    (tmp_path / "gold.jsonl").write_text("\n".join(map(written, DOCUMENTS)))
    return tmp_path


def calibrates(planted: Path, *more: str, has_gold: bool = True) -> list[str]:
    gold = ["--gold", str(planted / "gold.jsonl")] if has_gold else []
    return ["eval", "notes", "--calibrate", "--config", str(planted / "hub.toml"), *gold, *more]


def test_calibration_of_a_model_with_full_recall_chooses_the_largest_chunks(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    reader = reader_with()
    write_settings(planted, reader.base_url)
    done = hub(*calibrates(planted, "--json"))
    told = json.loads(done.stdout)
    sizes = [one["chunk_tokens"] for one in told["measured"]]
    assert sizes == [500, 1_000, 2_000]  # no document is longer
    assert (told["chunk_tokens"], told["estimated_recall"]) == (2_000, pytest.approx(1, abs=0.001))
    assert sum(one["tokens"] for one in told["measured"]) == reader.stats.tokens
    assert "asks oracle about" in done.stderr.splitlines()[0]
    assert "not written; with --write, or: hub config set model.chunk_tokens=2000" in done.stderr
    assert "chunk_tokens" not in (planted / "hub.toml").read_text()


def test_calibration_of_a_model_weak_on_long_texts_chooses_smaller_chunks(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with(share=lambda tokens: math.exp(-tokens / 2_000)).base_url)
    done = hub(*calibrates(planted, "--json"))
    told = json.loads(done.stdout)
    assert told["chunk_tokens"] < 700
    assert told["best_recall"] * 0.99 <= told["estimated_recall"] < 0.9
    assert [one["chunk_tokens"] for one in told["measured"]] == [500, 1_000]  # then it is clear


def test_calibration_respects_the_answer_limit_of_the_endpoint(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with(cuts_at=1_024).base_url)
    told = json.loads(hub(*calibrates(planted, "--json")).stdout)
    assert told["answer_tokens"] == 1_024
    assert 700 < told["chunk_tokens"] < 1_600
    assert [one["recall"] for one in told["measured"]] == [1.0] * len(told["measured"])


def test_calibration_writes_chunk_tokens_beside_the_model_and_preserves_comments(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with().base_url, model="concurrency = 4  # at home")
    before = (planted / "hub.toml").read_text()
    ends(hub(*calibrates(planted, "--write")), 0)
    after = (planted / "hub.toml").read_text()
    assert (after.count("chunk_tokens = 2000\n"), after.replace("chunk_tokens = 2000\n", "")) == (1, before)
    assert "has this size already" in hub(*calibrates(planted, "--write")).stderr
    assert (planted / "hub.toml").read_text() == after


def test_calibration_of_a_fallback_model_shows_the_line_to_write(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    first, second = reader_with(), reader_with()
    fallback = f'[[fallback_models]]\nkind = "openai"\nbase_url = "{second.base_url}"\nname = "second"'
    write_settings(planted, first.base_url, rest=fallback)
    before = (planted / "hub.toml").read_text()
    done = hub(*calibrates(planted, "--model", "second", "--write"))
    assert "write it beside the model second: chunk_tokens = 2000" in done.stderr
    assert (first.stats.calls, (planted / "hub.toml").read_text()) == (0, before)
    assert second.stats.calls > 0


def test_calibration_does_not_write_a_shared_model_into_the_node_file(
    hub: Hub, served: ServedHub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with().base_url)
    shared = planted / "shared.toml"
    shared.write_text((planted / "hub.toml").read_text().replace("notes", "minutes"))
    assert hub("config", "push", str(shared)).exit_code == 0
    before = served.settings.read_text()
    gold = ("--gold", str(planted / "gold.jsonl"))
    done = hub("eval", "minutes", "--config", str(served.settings), "--calibrate", *gold, "--write")
    assert "settings revision 1 has the model: write there, into [model]: chunk_tokens = 2000" in done.stderr
    assert served.settings.read_text() == before


def test_calibration_without_a_gold_file_uses_built_in_documents(
    hub: Hub, planted: Path, reader_with: ReaderWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.lab.calibration.SIZES", (4_000, 8_000))
    write_settings(planted, reader_with().base_url)
    told = json.loads(hub(*calibrates(planted, "--limit", "1", "--json", has_gold=False)).stdout)
    assert [one["labels"] for one in told["measured"]] == [100] * 2


def test_the_budget_of_a_run_limits_a_calibration(hub: Hub, planted: Path, reader_with: ReaderWith) -> None:
    reader = reader_with()
    write_settings(planted, reader.base_url, rest="[budget]\nrun_tokens = 18_000")
    done = hub(*calibrates(planted, "--json"))
    assert json.loads(done.stdout)["cut_short"]
    assert "never more than 18,000 tokens" in done.stderr
    assert reader.stats.tokens <= 18_000
    write_settings(planted, reader.base_url, rest="[budget]\nrun_tokens = 1")
    calls = reader.stats.calls
    ends(hub(*calibrates(planted)), 1, "the budget is too small")
    assert reader.stats.calls == calls


def test_calibration_refuses_documents_without_labels_or_length(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    reader = reader_with()
    write_settings(planted, reader.base_url)
    (planted / "gold.jsonl").write_text(json.dumps({"id": "a", "text": "Nothing.", "items": []}))
    ends(hub(*calibrates(planted)), 78, "have no label that the model")
    (short,) = planted_documents(count=1, facts=2)
    (planted / "gold.jsonl").write_text(written(short))
    assert "no document is longer than 500 tokens" in hub(*calibrates(planted)).stderr
    assert reader.stats.calls == 0


def test_calibration_of_a_model_finding_no_labels_exits_with_1(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with(share=lambda tokens: 0.0).base_url)
    done = hub(*calibrates(planted, "--write"))
    assert (done.exit_code, "found none of the labels" in done.stderr) == (1, True)
    assert "1000" not in done.stderr  # larger chunks are not tried


def test_calibration_is_refused_for_the_local_model_and_without_a_model(
    hub: Hub, planted: Path, reader_with: ReaderWith
) -> None:
    write_settings(planted, reader_with().base_url)
    agent = (planted / "hub.toml").read_text().partition("[[agents]]")[2]
    for model, told in (("", "add [model]"), ('[model]\nkind = "local"\n', "reads single sentences")):
        (planted / "hub.toml").write_text(f"{model}[[agents]]{agent}")
        ends(hub(*calibrates(planted)), 78, told)
    assert hub("eval", "notes", "--write", "--config", str(planted / "hub.toml")).exit_code == 2


def test_generated_texts_are_only_text_in_a_report_page() -> None:
    texts = [one.text for one in active_texts()]
    body = command._table(("text",), [(text,) for text in texts])
    page = LexborHTMLParser(command._PAGE.format(title=command._text(texts[0]), body=body))
    assert {node.tag for node in page.css("body *")} == {"h1", "table", "tbody", "tr", "th", "td"}
    assert [node.attributes for node in page.css("td") if node.attributes] == []
    assert [node.text() for node in page.css("td")] == [printable(text) for text in texts]
