"""Failures of runs and files have a sentence and what mends them, whatever their code is."""

import re
from itertools import product

from hub.runs.sentences import FAILURES, explain
from protocol.errors import ErrorCode
from protocol.skip_reasons import LEFT_OUT, SkipReason
from storage.runs.runs import RunError
from tests.storage.rows import make_run
from tests.support.runs import Bench


async def test_every_code_that_is_stored_has_a_sentence_and_a_remedy_for_people(bench: Bench) -> None:
    run = await bench.store.write(make_run, agent=bench.agent)
    of_device = {str(reason) for reason in SkipReason} - LEFT_OUT.keys()
    assert of_device <= FAILURES.keys()
    for code, unit in product((*FAILURES, *ErrorCode, "only_a_device_knows"), ("a/b.md", None)):
        for message in (code, f"{code}: 5 bytes, at most 2 are read"):
            sentence, remedy = explain(RunError(unit, code, message, 1), run, "desk")
            assert sentence and remedy
            assert not re.search(r"[{}]|None", sentence + remedy.replace("{{", "")), code
            assert unit is None or code not in of_device - {"limit"} or unit in sentence, code


async def test_code_of_a_device_becomes_a_sentence_with_its_detail_and_the_command_for_the_agent(
    bench: Bench,
) -> None:
    run = await bench.store.write(make_run, agent=bench.agent)
    missing = explain(RunError("notez", "missing", "missing", 1), run, "desk")
    assert missing.sentence == "device desk has no notez in the folders that it shares"
    assert missing.remedy == "correct the paths: hub config set 'agents.notes.paths=[\"PATH\"]'"
    locked = explain(RunError("my notes", "unreadable", "unreadable", 1), run, "desk")
    assert locked.remedy == "on desk: chmod u+r 'my notes'; for a folder: chmod u+rx 'my notes'"
    large = explain(RunError("a.pdf", "too_large", "too_large: 5 bytes, at most 2 are read", 1), run, "desk")
    assert large.sentence == "a.pdf is too large: 5 bytes, at most 2 are read"
