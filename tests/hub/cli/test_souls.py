"""Souls on the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from hub.api.nouns.souls import Souls as SoulNoun
from storage.coordination import souls
from tests.hub.cli.conftest import Hub, ends
from tests.hub.coordination.souls import AS_IT_WAS, SoulBench, open_souls
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.hub import ServedHub


@pytest.fixture
def gateway(served: ServedHub, portal: BlockingPortal) -> Iterator[FakeGateway]:
    with portal.wrap_async_context_manager(fake_gateway("west")) as opened:
        yield opened


@pytest.fixture
def bench(
    served: ServedHub, gateway: FakeGateway, portal: BlockingPortal, tmp_path: Path
) -> Iterator[SoulBench]:
    kept_in = served.store
    with portal.wrap_async_context_manager(open_souls(tmp_path, gateway, kept_in=kept_in)) as opened:
        served.nouns.add(SoulNoun(opened.souls))
        yield opened


def test_a_soul_is_printed_with_its_hash(hub: Hub, bench: SoulBench) -> None:
    shown = hub("boards", "soul", "garden", "worker")
    assert shown.stdout.startswith("# SOUL.md - Who You Are\n")
    assert f"sha256 {AS_IT_WAS}, on gateway west" in shown.output


def test_a_soul_is_written_from_a_file_and_only_over_what_was_read(
    hub: Hub, bench: SoulBench, gateway: FakeGateway, tmp_path: Path
) -> None:
    file = tmp_path / "soul.md"
    file.write_text("be kind\n")
    soul = ("boards", "soul", "garden", "worker")

    written = hub(*soul, "--write", str(file), "--expected", AS_IT_WAS, "--reason", "first", "--wait", "25")
    late = hub(*soul, "--write", "-", "--expected", AS_IT_WAS, "--wait", "25", input="be quick\n")

    assert f"written: sha256 {souls.digest('be kind' + chr(10))}" in written.output
    assert gateway.agents["worker"].files["SOUL.md"] == "be kind\n"
    assert late.exit_code == 1
    assert f"{AS_IT_WAS} was expected" in late.output
    assert "read it again, put your change into what is there now" in late.output


def test_the_history_of_a_soul_is_listed_shown_and_compared(hub: Hub, bench: SoulBench) -> None:
    history = ("boards", "soul-history", "garden", "worker")
    assert "no versions of the SOUL.md of worker" in hub(*history).output
    for text in ("be kind\n", "be quick\n"):
        hub("boards", "soul", "garden", "worker", "--write", "-", "--wait", "25", input=text)

    listed = hub(*history)
    assert "written" in listed.output and "seen" in listed.output and "gateway:west" in listed.output
    assert [one["seq"] for one in json.loads(hub(*history, "--json").stdout)["versions"]] == [3, 2, 1]
    assert hub(*history, "2").stdout == "be kind\n"
    assert hub(*history, "2", "--diff", "3").stdout == (
        "--- version 2\n+++ version 3\n@@ -1 +1 @@\n-be kind\n+be quick\n"
    )
    assert "--diff needs two versions" in hub(*history, "--diff", "3").output


def test_a_waiting_write_shows_its_reason(
    hub: Hub, bench: SoulBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.stop)
    ends(
        hub("boards", "soul", "garden", "worker", "--write", "-", "--wait", "20", input="later\n"),
        0,
        output=("as soon as possible: gateway west is not connected",),
    )
