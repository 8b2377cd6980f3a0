"""``make mutants`` plants faults by the text of their lines: each has to be in its file still."""

from tests.mutants.__main__ import ROOT, mutants


def test_line_of_every_mutant_is_in_the_named_file() -> None:
    for mutant in mutants():
        mutant.place((ROOT / mutant.file).read_text(encoding="utf-8").splitlines())
