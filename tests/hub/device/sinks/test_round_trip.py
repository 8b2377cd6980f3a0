"""From a line in a note to a vault and a calendar, and back to the line, while the device is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import open_device_store
from hub.device.owner import approve
from protocol.items import ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.sinks.conftest import caldav_place
from tests.hub.device.sinks.places import CalDavPlace, FilePlace, sink_text
from tests.hub.device.sinks.test_kills import Device
from tests.support.clock import FakeClock, SeededChance
from tests.support.radicale import Radicale

HEAD, FOOT = "# Plan\r\n\r\n- [ ] Task of others\r\n", "\r\nThe end"


@pytest.fixture
def calendar(radicale: Radicale, tmp_path: Path) -> Iterator[CalDavPlace]:
    with caldav_place(radicale, tmp_path) as place:
        yield place


def line_of(number: int, *, is_done: bool = False) -> str:
    return f"- [{'x' if is_done else ' '}] Task {number:03} of mine"


def text_of(tasks: int, *, is_done: bool = False) -> str:
    return HEAD + "\r\n".join(line_of(number, is_done=is_done) for number in range(tasks)) + FOOT


def check_places(vault: FilePlace, calendar: CalDavPlace, tasks: int) -> None:
    """Check that each task is done, and once, in the vault and in the calendar."""
    for number in range(tasks):
        title = line_of(number)[6:]
        assert vault.text.count(f"[x] {title} ^hub-") == vault.text.count(title) == 1
        assert [text.count("COMPLETED") > 0 for text in calendar.save().values() if title in text] == [True]


def suggest_and_approve(device: Device, note: Path, count: int) -> None:
    """Deliver a task for each line of the note, as a hub does, and approve all."""
    text, clock = note.read_bytes().decode(), FakeClock()
    calls = []
    for number in range(count):
        quote = line_of(number)
        start = text.index(quote)
        data = {"title": quote[6:], **SUGGESTED}
        source = ItemSource(path=f"notes/{note.name}", quote=quote, start=start, end=start + len(quote))
        calls.append(ToolCall(id=f"c{number}", action=Action.INSERT, table="tasks", data=data, source=source))
    with open_device_store(device.bench.path, clock=clock, ids=IdFactory(clock, SeededChance(7))) as store:
        store.name_roots([str(note.parent)])
        store.apply(calls)
    approve(device.bench.path, range(1, count + 1), at_ms=device.bench.at_ms)


def tick(vault: FilePlace, calendar: CalDavPlace, numbers: list[int]) -> None:
    """Tick even tasks in the vault, and odd ones on the phone."""
    events = calendar.save()
    for number in numbers:
        title = line_of(number)[6:]
        if number % 2 == 0:
            vault.rename(f"[ ] {title}", f"[x] {title}")
            continue
        name, text = next((name, text) for name, text in events.items() if title in text)
        done = text.replace("STATUS:NEEDS-ACTION", "STATUS:COMPLETED").replace("\r\n", "\n")
        calendar._put(name, done)


@pytest.mark.parametrize(
    ("seed", "tasks", "kills"),
    [
        pytest.param(0, 6, 2, marks=pytest.mark.slow),
        *(pytest.param(seed, 200, 10, marks=pytest.mark.soak) for seed in range(1, 3)),
    ],
)
def test_task_of_a_note_round_trips_through_both_sinks_despite_kills(
    seed: int, tasks: int, kills: int, calendar: CalDavPlace, tmp_path: Path
) -> None:
    vault, chance = FilePlace("markdown", tmp_path), SeededChance(seed)
    others = vault.others(), calendar.others()
    device = Device(calendar, tmp_path)
    settings = tmp_path / "device.toml"
    own = f"tick_in = ['{tmp_path}/notes']\n"
    settings.write_text(
        settings.read_text().replace("[[sinks]]", own + "[[sinks]]", 1) + sink_text("vault", vault.settings())
    )
    note = tmp_path / "notes/plan.md"
    note.write_bytes(text_of(tasks).encode())
    suggest_and_approve(device, note, tasks)

    for _ in range(kills // 2):
        device.run_and_kill(chance, 1.0)
    seconds = device.run()
    left = list(range(tasks))
    for turn in range(kills // 2):
        share = left[turn :: kills // 2]
        tick(vault, calendar, share)
        device.run_and_kill(chance, seconds)
    device.run()
    device.run()

    assert note.read_bytes().decode() == text_of(tasks, is_done=True)
    check_places(vault, calendar, tasks)
    assert (vault.others(), calendar.others()) == others
