"""Line ends that few programs know, at both sides of a place: what is written and read stays as it is."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.text.item_text import plain_lines, title_line
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, CalDavPlace, FilePlace, Place, RestPlace

ENDS = ["\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
SIGNS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029 \t\\-#>[]^:@+\"',;a"
_TIMES = re.compile("^(?:DTSTAMP|LAST-MODIFIED):.*", re.MULTILINE)
WORDS = st.text(st.sampled_from(SIGNS), max_size=9)


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=6, max_size=6))
def test_text_with_any_line_ends_is_stable_through_writes_and_reads(
    kind: str, rows: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ends")
    bench, place = SinkBench(folder), FilePlace(kind, folder)
    others = place.others()
    ids = [
        bench.approve({"title": f"A{title}a", "description": text, "assignee": [f"B{name}b"]})
        for title, text, name in rows
    ]
    before = [bench.row(row)["description"] for row in ids]
    texts = []
    for level in ("high", "low", "high", "low"):
        bench.clock.set_wall(bench.clock.now().replace(year=bench.clock.now().year + 20))  # behind the file
        with bench.open() as db:
            db.execute('UPDATE tasks SET priority = ?, "updatedAt" = ?', (level, bench.at_ms))
        results = [bench.synchronize(place.target) for _ in range(3)]
        assert [(synced.taken_back, synced.problem) for synced in results] == [(0, "")] * 3
        assert results[-1].written == 0
        texts.append(_TIMES.sub("", place.text))
    assert texts[2:] == texts[:2]
    assert [bench.row(row)["description"] for row in ids] == before
    assert place.others() == others


@pytest.mark.parametrize("end", ENDS)
def test_line_end_typed_at_a_place_is_read_once_and_stays_there(
    end: str, place: Place, bench: SinkBench
) -> None:
    bench.clock.set_wall(bench.clock.now().replace(year=2000))
    row = bench.approve({"title": "Call Ana", "description": "about two"})
    bench.synchronize(place.target)
    is_long = "about" in place.text
    old, column = ("about two", "description") if is_long else ("Call Ana", "title")
    if isinstance(place, RestPlace):
        (task,) = (task for task in place.tasks.tasks.values() if "Call Ana" in task["content"])
        place.tasks.change(task["id"], {"content": f"Phone{end}Ana"})
    elif isinstance(place, FilePlace) and place.path.suffix == ".jsonl":
        place.rename("about two", "one" + {"\r\n": "\\r\\n"}.get(end, f"\\u{ord(end[0]):04x}") + "two")
    elif isinstance(place, CalDavPlace) and end < " ":
        pytest.skip("the server refuses control characters")
    else:
        place.rename(old, f"one{end}two" if end != "\r\n" else "one two")
    before = place.text
    results = [bench.synchronize(place.target) for _ in range(3)]
    assert [(synced.written, synced.problem) for synced in results] == [(0, "")] * 3
    assert place.text == before
    value = str(bench.row(row)[column if not isinstance(place, RestPlace) else "title"])
    assert value == plain_lines(value) and (column != "title" or value == title_line(value))
