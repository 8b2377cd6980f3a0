"""Settings that all nodes share: a revision replaces those tables of each node's own file."""

from pathlib import Path

import pytest

from hub.settings.edits import CannotEdit
from hub.settings.problems import Problem, SettingsInvalid
from hub.settings.reading import Shared, revision_text
from hub.settings.reload import Edit, Unfit
from protocol.errors import CodedError, ErrorCode
from storage.kernel.database import Unavailable
from tests.support.coded import coded
from tests.support.settings import TEXT, SettingsBench

ME = "operator:7"
PUSHED = """\
# the agents of us all
agents = []
hub.name = "hers"

# where she listens
[listen.devices]
address = "127.0.0.1:1"
# how much
[limits]
runs = 9  # at once

[storage]
url = "sqlite:///hers.db"
[budget]
run_usd = 2.0
"""


@pytest.fixture
async def bench(tmp_path: Path) -> SettingsBench:
    bench = SettingsBench(tmp_path)
    await bench.reloader.begin()
    return bench


def warnings(bench: SettingsBench) -> list[Problem]:
    """What is doubtful about the settings in use."""
    return [one for one in bench.reloader.reading.problems if one.severity == "warning"]


def test_a_revision_has_its_number_and_the_shared_tables_alone_and_says_from_which_lines() -> None:
    made = revision_text(PUSHED, 7)
    assert made.text.split("\n") == [
        "# settings revision 7",
        *("# the agents of us all", "agents = []"),
        *("# how much", "[limits]", "runs = 9  # at once", ""),
        *("[budget]", "run_usd = 2.0", ""),
    ]
    assert [made.line(number) for number in (2, 5, 6, 9)] == [1, 9, 10, 15]
    assert made == revision_text(PUSHED.replace("\n", "\r\n"), 7)
    again = revision_text(made.text, 8)
    assert again.text == made.text.replace("7", "8", 1), "one number, not two"
    assert again.line(6) == 6


async def test_a_node_uses_the_shared_tables_of_the_newest_revision_and_its_own_of_its_file(
    bench: SettingsBench,
) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    await bench.reloader.follow(actor="hub")
    settings = bench.reloader.current
    assert (settings.limits.runs, settings.budget.run_usd, settings.hub.name) == (9, 2.0, "home")
    assert str(settings.listen.devices.address) != "127.0.0.1:1"
    assert bench.path.read_text() == TEXT
    places = bench.reloader.reading.places
    assert places is not None
    assert str(places.origin(("limits", "runs"))) == "settings revision 4:10"
    assert str(places.origin(("hub", "name"))) == f"{bench.path}:3"
    (warning,) = warnings(bench)
    assert (warning.file, warning.line, warning.path) == (str(bench.path), 5, "limits")
    assert warning.message.startswith("[limits]: not used, because settings revision 4")
    (applied,) = bench.hub.revisions
    assert (applied.shared, applied.is_published, applied.changes) == (Shared(4, PUSHED), False, ())

    bench.hub.newest = Shared(5, None)
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, warnings(bench)) == (4, [])


async def test_a_revision_in_use_stays_in_use_when_the_file_of_the_node_changes(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    await bench.reloader.follow(actor="hub")
    bench.path.write_text('[hub]\nname = "away"\n')
    done = await bench.reloader.reload(actor=ME)
    assert (done.changes.restart, bench.reloader.current.limits.runs) == (("hub.name",), 9)
    done = await bench.reloader.edit(Edit(values={"hub.name": "home"}), expected=None, actor=ME)
    assert (done.changes.restart, bench.reloader.current.limits.runs) == ((), 9)
    for edit in (
        Edit(values={"limits.runs": 7}),
        Edit(without=("agents.notes",)),
        Edit(text="[budget]\nrun_usd = 9.0\n"),
    ):
        with pytest.raises(CannotEdit, match=r"\] is in settings revision 4, for all nodes"):
            await bench.reloader.edit(edit, expected=None, actor=ME)


async def test_a_revision_that_a_node_cannot_use_is_refused_once_with_its_place(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, "[limits]\nruns = -1\n")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.follow(actor="hub")
    (why,) = bench.hub.lags
    assert why.startswith("settings revision 4:2:8: error: limits.runs: ")
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, len(bench.hub.lags)) == (4, 1)
    assert bench.reloader.refused == (), "it is not hub.toml that is refused"

    bench.hub.newest = Shared(5, "[limits]\nruns = 5\n")
    await bench.reloader.follow(actor="hub")
    assert bench.reloader.current.limits.runs == 5


async def test_a_revision_is_tried_again_after_the_database_was_away(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(4, PUSHED)
    bench.hub.cannot_reconcile = Unavailable("away")
    with pytest.raises(SettingsInvalid):
        await bench.reloader.follow(actor="hub")
    bench.hub.cannot_reconcile = None
    await bench.reloader.follow(actor="hub")
    assert (bench.reloader.current.limits.runs, bench.hub.lags) == (9, [])


async def test_published_settings_are_in_use_at_once_with_all_their_changes(bench: SettingsBench) -> None:
    bench.hub.newest = Shared(6, None)
    done = await bench.reloader.publish(PUSHED, name="pushed.toml", actor=ME)
    assert done.changes.live == ("budget.run_usd", "limits.runs")
    (revision,) = bench.hub.revisions
    assert revision.shared == Shared(7, revision_text(PUSHED, 7).text)
    assert revision.is_published
    assert [(one.key, one.old, one.new) for one in revision.changes] == [
        ("limits.runs", "4", "9"),
        ("budget.run_usd", None, "2.0"),
    ]
    assert bench.hub.told == [(ME, "applied")]


async def test_what_cannot_be_used_is_not_published(bench: SettingsBench) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        await bench.reloader.publish("[listen]\n\n[limits]\nruns = -1\n", name="pushed.toml", actor=ME)
    assert str(refused.value.problems[0]).startswith("pushed.toml:4:8: error: limits.runs: ")
    with pytest.raises(SettingsInvalid, match=r"pushed\.toml:1"):
        await bench.reloader.publish("[limits", name="pushed.toml", actor=ME)
    for text in ("# nothing\n", '[hub]\nname = "x"\n'):
        with pytest.raises(
            CodedError, check=coded(ErrorCode.BAD_PARAMS), match="no table that nodes share: model, "
        ):
            await bench.reloader.publish(text, name="pushed.toml", actor=ME)
    bench.hub.cannot_reconcile = Unfit(("limits", "runs"), "too few")
    with pytest.raises(SettingsInvalid, match=r"pushed\.toml:10:8"):
        await bench.reloader.publish(PUSHED, name="pushed.toml", actor=ME)
    assert (bench.reloader.shared, bench.reloader.current.limits.runs) == (None, 4)
    assert (bench.hub.lags, bench.reloader.refused) == ([], ())
