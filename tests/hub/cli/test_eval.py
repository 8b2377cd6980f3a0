"""``hub eval``: the agent's own settings and model over labelled documents."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from hub.app.evaluation import MOST_STORED
from hub.extraction.embedded import free_port
from tests.hub.cli.conftest import Hub
from tests.support.oracle import MODEL_NAME, Fault, Oracle, plant

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
    return ["eval", "--agent", "notes", *files, *more]


def test_figures_cost_and_time_are_printed(hub: Hub, folder: Path, oracle: Oracle) -> None:
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


def test_the_second_evaluation_shows_the_changes(hub: Hub, folder: Path, oracle: Oracle) -> None:
    hub(*words_for(folder))
    oracle.play(Fault.MALFORMED_ANSWER, times=200)  # of nothing that it says can anything be made
    done = hub(*words_for(folder))
    (tasks,) = (line.split() for line in done.stdout.splitlines() if line.startswith("tasks"))
    assert tasks[:6] == ["tasks", "3", "=", "0", "-3", "0"]
    assert "0.000 -1.000" in done.stdout
    assert "compared with" in done.stdout


def test_figures_in_json_include_the_last_ones(hub: Hub, folder: Path) -> None:
    hub(*words_for(folder))
    told = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (told["schema"], told["all"]["f1"], told["tables"]["tasks"]["right"]) == ("hub.eval/1", 1.0, 3)
    assert told["before"]["all"] == told["all"]
    assert (told["unparsable"], told["given_up"], told["failed"], told["unread"]) == (0, 0, 0, 0)


def test_another_gold_file_or_part_of_it_is_not_compared(hub: Hub, folder: Path) -> None:
    hub(*words_for(folder))
    part = json.loads(hub(*words_for(folder, "--limit", "2", "--json")).stdout)
    assert (part["documents"], part["before"]) == (2, None)
    write_gold(folder, [document(0), document(1, is_labelled=False), document(2)])
    other = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert (other["before"], other["all"]["precision"]) == (None, pytest.approx(2 / 3))


def test_the_last_twenty_are_stored(hub: Hub, folder: Path, state: Path) -> None:
    write_gold(folder, [document(0)])
    hub(*words_for(folder))
    file = state / "evaluations" / "owner" / "notes.json"
    first = json.loads(file.read_text())
    file.write_text(json.dumps(first * (MOST_STORED + 3)))
    assert hub(*words_for(folder)).exit_code == 0
    assert len(json.loads(file.read_text())) == MOST_STORED
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_broken_file_of_earlier_figures_is_reported_and_replaced(
    hub: Hub, folder: Path, state: Path
) -> None:
    hub(*words_for(folder))
    file = state / "evaluations" / "owner" / "notes.json"
    file.write_text("[{")
    done = hub(*words_for(folder))
    assert done.exit_code == 0
    assert f"{file}, so there is no comparison" in done.stderr
    assert len(json.loads(file.read_text())) == 1


def test_a_gold_file_with_mistakes_is_refused_line_by_line(hub: Hub, folder: Path, oracle: Oracle) -> None:
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


def test_a_gold_file_that_is_no_text_is_refused(hub: Hub, folder: Path) -> None:
    gold = folder / "gold.jsonl"
    gold.write_bytes(b"{}\n\xff")
    done = hub(*words_for(folder))
    assert (done.exit_code, done.stderr) == (78, f"{gold}:2: not UTF-8\n")


def test_settings_with_a_mistake_are_refused(hub: Hub, folder: Path) -> None:
    (folder / "hub.toml").write_text("[model")
    done = hub(*words_for(folder))
    assert done.exit_code == 78
    assert "hub.toml:1:" in done.stderr


@pytest.mark.parametrize("words", [("--limit", "0"), ("--least-f1", "2"), ("--agent", "nobody")])
def test_a_misused_option_is_2(hub: Hub, folder: Path, words: tuple[str, str]) -> None:
    assert hub(*words_for(folder, *words)).exit_code == 2


def test_a_bar_that_is_not_met_is_1(hub: Hub, folder: Path, oracle: Oracle) -> None:
    assert hub(*words_for(folder, "--least-f1", "1.0")).exit_code == 0
    write_gold(folder, [document(0), document(1, is_labelled=False)])
    done = hub(*words_for(folder, "--least-f1", "0.9"))
    assert done.exit_code == 1
    assert "not met: F1 is 0.667; at least 0.9 on all documents is required" in done.stderr


def test_the_budget_of_a_run_limits_an_evaluation(
    hub: Hub, folder: Path, oracle: Oracle, state: Path
) -> None:
    write_settings(folder, oracle.base_url, rest="[budget]\nrun_tokens = 1")
    done = hub(*words_for(folder, "--least-f1", "0.1"))
    assert done.exit_code == 1
    assert oracle.stats.calls == 0
    assert "3 documents were not read: the budget budget.run_tokens = 1 is reached" in done.stderr
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


def test_labels_of_tables_that_the_agent_does_not_find_are_left_out(hub: Hub, folder: Path) -> None:
    other = document(0)
    other["items"].append({"table": "notes", "data": {"title": "rain"}, "quote": "It rained."})
    write_gold(folder, [other])
    done = hub(*words_for(folder))
    assert "1 labels left out: their tables are not in data_types of this agent" in done.stderr
    assert "notes" not in done.stdout


def test_without_quota_it_is_69(hub: Hub, folder: Path, oracle: Oracle) -> None:
    oracle.play(Fault.SPENT_QUOTA, times=9)
    assert hub(*words_for(folder)).exit_code == 69


def test_an_unreachable_model_is_69(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.extraction.endpoint.MAX_TRIES", 1)
    write_settings(folder, f"http://127.0.0.1:{free_port()}/v1")
    done = hub(*words_for(folder))
    assert done.exit_code == 69, done.stderr


def test_an_agent_limited_to_local_models_without_one_is_78(hub: Hub, folder: Path) -> None:
    write_settings(folder, "https://models.example/v1", agent="allow_cloud = false")
    done = hub(*words_for(folder))
    assert done.exit_code == 78
    assert "allow_cloud" in done.stderr


def test_without_a_model_rules_are_measured(hub: Hub, folder: Path) -> None:
    settings = (folder / "hub.toml").read_text()
    (folder / "hub.toml").write_text(settings[settings.index("[[agents]]") :])
    rows = {"table": "tasks", "data": {"title": "call the plumber"}, "quote": "call the plumber"}
    write_gold(folder, [{"id": "a", "name": "a.md", "text": "- [ ] call the plumber\n", "items": [rows]}])
    done = hub(*words_for(folder))
    assert done.exit_code == 0
    assert "no model is set, so only rules" in done.stderr
    assert done.stdout.splitlines()[1].split()[:4] == ["tasks", "1", "1", "1"]
