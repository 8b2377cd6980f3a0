"""``hub eval --calibrate``: how large the chunks for a model may be."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from hub.app.calibration import planted_documents
from hub.extraction.gold import GoldDocument
from tests.hub.cli.conftest import Hub, ends
from tests.hub.cli.test_eval import write_settings
from tests.support.hub import ServedHub
from tests.support.oracle.reader import Reader

DOCUMENTS = planted_documents(count=1, facts=45)
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
def folder(tmp_path: Path) -> Path:
    """A folder with a gold file; its settings are written by the test."""
    (tmp_path / "gold.jsonl").write_text("\n".join(map(written, DOCUMENTS)))
    return tmp_path


def words_for(folder: Path, *more: str, has_gold: bool = True) -> list[str]:
    gold = ["--gold", str(folder / "gold.jsonl")] if has_gold else []
    return ["eval", "notes", "--calibrate", "--config", str(folder / "hub.toml"), *gold, *more]


def test_a_model_that_overlooks_nothing_gets_the_largest_chunks(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    reader = reader_with()
    write_settings(folder, reader.base_url)
    done = hub(*words_for(folder, "--json"))
    told = json.loads(done.stdout)
    sizes = [one["chunk_tokens"] for one in told["measured"]]
    assert sizes == [500, 1_000, 2_000, 4_000]  # no document is longer
    assert (told["chunk_tokens"], told["estimated_recall"]) == (4_000, pytest.approx(1, abs=0.001))
    assert sum(one["tokens"] for one in told["measured"]) == reader.stats.tokens
    assert "asks oracle about" in done.stderr.splitlines()[0]
    assert "not written; with --write, or: hub config set model.chunk_tokens=4000" in done.stderr
    assert "chunk_tokens" not in (folder / "hub.toml").read_text()


def test_a_model_that_overlooks_more_in_longer_texts_gets_smaller_chunks(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    write_settings(folder, reader_with(share=lambda tokens: math.exp(-tokens / 2_000)).base_url)
    done = hub(*words_for(folder, "--json"))
    told = json.loads(done.stdout)
    assert told["chunk_tokens"] < 700
    assert told["best_recall"] * 0.99 <= told["estimated_recall"] < 0.9
    assert [one["chunk_tokens"] for one in told["measured"]] == [500, 1_000]  # then it is clear


def test_answers_fit_the_limit_of_the_endpoint(hub: Hub, folder: Path, reader_with: ReaderWith) -> None:
    write_settings(folder, reader_with(cuts_at=1_024).base_url)
    told = json.loads(hub(*words_for(folder, "--json")).stdout)
    assert told["answer_tokens"] == 1_024
    assert 700 < told["chunk_tokens"] < 1_600
    assert [one["recall"] for one in told["measured"]] == [1.0] * len(told["measured"])


def test_the_size_is_written_beside_the_model_and_comments_stay(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    write_settings(folder, reader_with().base_url, model="concurrency = 4  # at home")
    before = (folder / "hub.toml").read_text()
    ends(hub(*words_for(folder, "--write")), 0)
    after = (folder / "hub.toml").read_text()
    assert after.count("chunk_tokens = 4000\n") == 1
    assert after.replace("chunk_tokens = 4000\n", "") == before
    assert "has this size already" in hub(*words_for(folder, "--write")).stderr
    assert (folder / "hub.toml").read_text() == after


def test_another_model_of_the_settings_is_calibrated_and_its_line_shown(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    first, second = reader_with(), reader_with()
    fallback = f'[[fallback_models]]\nkind = "openai"\nbase_url = "{second.base_url}"\nname = "second"'
    write_settings(folder, first.base_url, rest=fallback)
    before = (folder / "hub.toml").read_text()
    done = hub(*words_for(folder, "--model", "second", "--write"))
    assert "write it beside the model second: chunk_tokens = 4000" in done.stderr
    assert (first.stats.calls, (folder / "hub.toml").read_text()) == (0, before)
    assert second.stats.calls > 0


def test_a_size_for_a_model_that_nodes_share_is_not_written_into_the_file_of_one(
    hub: Hub, served: ServedHub, folder: Path, reader_with: ReaderWith
) -> None:
    write_settings(folder, reader_with().base_url)
    shared = folder / "shared.toml"
    shared.write_text((folder / "hub.toml").read_text().replace("notes", "minutes"))
    assert hub("config", "push", str(shared)).exit_code == 0
    before = served.settings.read_text()
    gold = ("--gold", str(folder / "gold.jsonl"))
    done = hub("eval", "minutes", "--config", str(served.settings), "--calibrate", *gold, "--write")
    assert "settings revision 1 has the model: write there, into [model]: chunk_tokens = 4000" in done.stderr
    assert served.settings.read_text() == before


def test_documents_are_built_in(hub: Hub, folder: Path, reader_with: ReaderWith) -> None:
    write_settings(folder, reader_with().base_url)
    told = json.loads(hub(*words_for(folder, "--limit", "1", "--json", has_gold=False)).stdout)
    assert [one["labels"] for one in told["measured"]] == [100] * 5
    assert told["chunk_tokens"] == 8_000


def test_the_budget_of_a_run_limits_a_calibration(hub: Hub, folder: Path, reader_with: ReaderWith) -> None:
    reader = reader_with()
    write_settings(folder, reader.base_url, rest="[budget]\nrun_tokens = 30_000")
    done = hub(*words_for(folder, "--json"))
    assert json.loads(done.stdout)["cut_short"]
    assert "never more than 30,000 tokens" in done.stderr
    assert reader.stats.tokens <= 30_000
    write_settings(folder, reader.base_url, rest="[budget]\nrun_tokens = 1")
    calls = reader.stats.calls
    ends(hub(*words_for(folder)), 1, "the budget is too small")
    assert reader.stats.calls == calls


def test_documents_that_tell_nothing_about_sizes_are_refused(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    reader = reader_with()
    write_settings(folder, reader.base_url)
    (folder / "gold.jsonl").write_text(json.dumps({"id": "a", "text": "Nothing.", "items": []}))
    ends(hub(*words_for(folder)), 78, "have no label that the model")
    (short,) = planted_documents(count=1, facts=2)
    (folder / "gold.jsonl").write_text(written(short))
    assert "no document is longer than 500 tokens" in hub(*words_for(folder)).stderr
    assert reader.stats.calls == 0


def test_a_model_that_finds_nothing_has_no_size(hub: Hub, folder: Path, reader_with: ReaderWith) -> None:
    write_settings(folder, reader_with(share=lambda tokens: 0.0).base_url)
    done = hub(*words_for(folder, "--write"))
    assert (done.exit_code, "found none of the labels" in done.stderr) == (1, True)
    assert "1000" not in done.stderr  # larger chunks are not tried


def test_the_small_local_model_and_no_model_have_no_size(
    hub: Hub, folder: Path, reader_with: ReaderWith
) -> None:
    write_settings(folder, reader_with().base_url)
    agent = (folder / "hub.toml").read_text().partition("[[agents]]")[2]
    for model, told in (("", "add [model]"), ('[model]\nkind = "local"\n', "reads single sentences")):
        (folder / "hub.toml").write_text(f"{model}[[agents]]{agent}")
        ends(hub(*words_for(folder)), 78, told)
    assert hub("eval", "notes", "--write", "--config", str(folder / "hub.toml")).exit_code == 2
