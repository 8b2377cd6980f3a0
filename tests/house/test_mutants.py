"""``make mutants`` draws faults from a seed: each changes one line, and the module can still be parsed."""

import ast

from tests.mutants.__main__ import KINDS, ROOT, drawn


def test_module_with_a_drawn_fault_differs_in_a_line_and_can_be_parsed() -> None:
    faults = drawn(ROOT, 7, 24)
    assert {fault.kind for fault in faults} == {*KINDS}
    for fault in faults:
        lines = (ROOT / fault.file).read_text(encoding="utf-8").splitlines(keepends=True)
        assert lines[fault.line - 1] == fault.before != fault.after, fault
        lines[fault.line - 1] = fault.after
        ast.parse("".join(lines))


def test_seed_decides_the_drawn_faults() -> None:
    assert drawn(ROOT, 7, 2) == drawn(ROOT, 7, 3)[:2] != drawn(ROOT, 8, 2)
