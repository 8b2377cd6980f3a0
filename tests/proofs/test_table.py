"""Every program among the tests has a proof in the table, and every command of the table exists."""

import ast
import re
import shlex
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from tests.bench.__main__ import ALL as ROWS
from tests.evaluation.__main__ import BARS
from tests.fuzz.targets import TARGETS
from tests.mutants.__main__ import COUNT
from tests.proofs.table import IN_CI, NO_PROOFS, PROOFS, Proof
from tests.scenarios.chaos import FAULTS
from tests.support.families import each
from tests.support.source import ROOT, Module, imports_of

FOLDERS = ("scenarios", "simulation", "bench", "proofs", "evaluation")
OWN = "tests.proofs.__main__"
MENTIONS = re.compile(rf"\btests\.(?:{'|'.join(FOLDERS)})\b")
STARTED = re.compile(r'"-m", "(tests\.[\w.]+)"|"(\w+)\.py"')  # programs that another one starts
IS_PROGRAM = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)


@cache
def modules() -> tuple[Module, ...]:
    """Return the modules of the folders, and the modules of pytest that mention one of them."""
    found = []
    for path in sorted(ROOT.glob("tests/**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        source = path.read_text("utf-8")
        is_test = path.name.startswith("test_") or path.name == "conftest.py"
        if path.relative_to(ROOT).parts[1] in FOLDERS or (is_test and MENTIONS.search(source)):
            found.append(Module(name, source, path.name == "__init__.py"))
    return tuple(found)


def module_of(proof: Proof) -> str:
    """Return the module that ``python -m`` runs."""
    name = proof.command.partition(" ")[0]
    return f"{name}.__main__" if Path(ROOT, *name.split(".")).is_dir() else name


def without_proof(modules: Collection[Module]) -> list[str]:
    """Return the programs that no proof and no test of pytest reaches."""
    known = {module.name: module for module in modules}
    tests = (name for name in known if name.rpartition(".")[2].startswith(("test_", "conftest")))
    bars = {f"tests.evaluation.{bar.module}" for bar in BARS.values()}  # imported by name
    left = [*{*tests, *bars, OWN, *NO_PROOFS, *map(module_of, PROOFS)} & known.keys()]
    reached = set(left)
    while left:
        new = set(_leads_to(known[left.pop()], known)) - reached
        reached |= new
        left += new
    return sorted(
        module.name for module in modules if IS_PROGRAM.search(module.source) and module.name not in reached
    )


def _leads_to(module: Module, known: Collection[str]) -> Iterator[str]:
    """Return the modules that *module* imports or starts."""
    yield from (target for target, _ in imports_of(module, known) if target in known)
    package = module.name.rpartition(".")[0]
    names = (name or f"{package}.{file}" for name, file in STARTED.findall(module.source))
    yield from (name for name in names if name in known)


def unknown_options(proof: Proof) -> list[str]:
    """Return the options of a proof that the source of its module does not define."""
    source = Path(ROOT, *module_of(proof).split(".")).with_suffix(".py").read_text("utf-8")
    known = set(re.findall(r'"(--[a-z-]+)"', source))
    if "from tests.scenarios.program import" in source:  # its options are the arguments of a function
        played = re.findall(r"^    run\((\w+)\)$", source, re.MULTILINE)
        for node in ast.parse(source).body:
            if isinstance(node, ast.AsyncFunctionDef) and node.name in played:
                arguments = (*node.args.args[1:], *node.args.kwonlyargs)
                known |= {f"--{argument.arg.replace('_', '-')}" for argument in arguments}
    words = [word for part in proof.parts for word in shlex.split(f"{proof.command} {part}")]
    return sorted({word for word in words if word.startswith("--")} - known)


def test_each_program_is_reached_by_a_proof_or_a_test() -> None:
    assert without_proof(modules()) == []
    assert NO_PROOFS.keys() <= {module.name for module in modules()}


def test_planted_program_without_a_proof_is_named() -> None:
    program = 'if __name__ == "__main__":\n    main()\n'
    planted = Module("tests.scenarios.planted", program)
    assert without_proof([*modules(), planted]) == [planted.name]
    importing = Module("tests.scenarios.test_planted", "from tests.scenarios import planted")
    assert without_proof([*modules(), planted, importing]) == []


def test_names_of_proofs_are_unique_and_plain() -> None:
    names = [proof.name for proof in PROOFS]
    assert {*names} >= IN_CI
    assert sorted({*names}) == sorted(names)
    assert [name for name in names if not re.fullmatch("[a-z]+(-[a-z]+)*", name)] == []


@each("proof", PROOFS)
def test_command_of_a_proof_exists_with_its_options(proof: Proof) -> None:
    assert Path(ROOT, *module_of(proof).split(".")).with_suffix(".py").is_file()
    assert unknown_options(proof) == []
    assert proof.shows.endswith(".") and proof.parts


def test_unknown_option_of_a_command_is_found() -> None:
    proof = Proof("planted", "Nothing.", "tests.scenarios.kills --kills 2", "soak", parts=("--off imap",))
    assert unknown_options(proof) == ["--off"]
    assert unknown_options(proof._replace(command="tests.fuzz --case 1 --sed 1")) == ["--off", "--sed"]


def test_each_bar_of_evaluation_has_a_proof() -> None:
    assert {
        proof.command.split()[1] for proof in PROOFS if proof.command.startswith("tests.evaluation ")
    } == {*BARS}


def test_parts_of_a_divided_proof_are_all_of_it() -> None:
    words = {
        proof.name: [word for part in proof.parts for word in shlex.split(part) if not word.startswith("--")]
        for proof in PROOFS
    }
    assert sorted(map(int, words["bench"])) == [*ROWS]
    assert sorted(map(int, words["mutants"])) == [*range(1, COUNT + 1)]
    assert sorted(words["readers"]) == sorted(TARGETS)
    assert sorted(words["chaos"]) == sorted(FAULTS)
