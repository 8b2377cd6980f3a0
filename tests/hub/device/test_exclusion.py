"""Files that a device does not offer: ignore files, and folders that programs fill."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hub.device.shared import Root, SharedFolders
from protocol.skipped_files import SkipReason
from protocol.work import MANY, RunConfig

pytestmark = pytest.mark.usefixtures("way")


def listed(
    root: Path, *asked: str, hidden: bool = False, ignore: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Return the offered files, and by path or reason what is left out."""
    roots = [Root("r", str(root), str(root))]
    shared = SharedFolders(roots, home="/nowhere", hidden=hidden, ignore=ignore)
    places, _ = shared.places(asked)
    files, skipped = shared.list_files(places, RunConfig(), None, lambda: None)
    counts = {one.reason: str(one.files) for one in skipped if one.path == MANY}
    named = {one.path: one.reason for one in skipped if one.path != MANY}
    return [file.path.removeprefix("r/") for file in files], named | counts


def write(root: Path, tree: Mapping[str, str | bytes]) -> None:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


RULES = {
    ".gitignore": "*.log\n!keep.log\n/only-here\nfolder/\n**/deep/x.md\na/**/z.md\n# no rule\n\n\\#x.md\n"
    "\\!y.md\ntrail\\ \nsome.md   \ncase[0-9].md\nnot[!a-c].md\nb/*\n!b/kept.md\nquestion?.md\n"
    "*/level.md\ndocs/*/private\n",
    "sub/.gitignore": "!all.log\nlocal.md\n/inner/*\n!/inner/kept/\n",
    "sub/inner/kept/.gitignore": "*\n!in.md\n",
    "open/.gitignore": "!*.log\n",
}
NAMES = (
    *("a.log", "keep.log", "only-here", "x/only-here", "folder/a.md", "x/folder/a.md", "folder2/a.md"),
    *("deep/x.md", "q/deep/x.md", "a/z.md", "a/b/c/z.md", "a/b/y.md", "#x.md", "!y.md", "trail ", "trail"),
    *("some.md", "case1.md", "casex.md", "nota.md", "notz.md", "b/one.md", "b/kept.md", "b/c/kept.md"),
    *("question1.md", "question12.md", "one/level.md", "one/two/level.md", "level.md"),
    *("docs/a/private/x.md", "docs/private/x.md", "sub/all.log", "sub/b.log", "sub/x/all.log"),
    *("sub/local.md", "sub/x/local.md", "local.md", "sub/inner/x.md", "sub/inner/kept/in.md"),
    *("sub/inner/kept/out.md", "open/a.log", "open/x/b.log", "Größe.md", "a b/c d.md"),
)


ALLOWED = (
    "s/a.md",
    "s/a.txt",
    "s/t/b.md",
    "s/t/b.txt",
    "tmp/a/k.md",
    "tmp/a/x.md",
    "tmp/b.md",
    "c.md",
    "c.txt",
)


@pytest.mark.parametrize(
    ("below", "names", "rules"),
    [
        *((below, NAMES, RULES) for below in ("", "sub", "docs/a")),
        *(
            ("", ALLOWED, {".gitignore": patterns.replace(" ", "\n")})
            for patterns in (
                "* !*/ !*.md",
                "* !s/ !*.md",
                "/s/** !/s/a.md",
                "s/** !*.md",
                "tmp/** !tmp/a/ !tmp/a/k.md",
                "/* !/s/",
                "tmp/* !tmp/a/",
                "** !**/ !a.md",
                "s/*/ !s/t/",
                "s !s/a.md",
                "*.txt !s/**/*.txt",
            )
        ),
    ],
)
def test_files_ignored_by_git_are_not_offered_and_all_others_are(
    tmp_path: Path, below: str, names: Sequence[str], rules: Mapping[str, str]
) -> None:
    write(tmp_path, {**dict.fromkeys(names, "text"), **rules})
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    ls = [*git, "-c", "core.excludesFile=/dev/null", "ls-files", "-z", "--others", "--exclude-standard"]
    of_git = subprocess.run(ls, check=True, capture_output=True, text=True).stdout.split("\0")
    prefix = f"{below}/" if below else ""
    expected = [
        name for name in of_git if name.startswith(prefix) and os.path.basename(name)[:1] not in ("", ".")
    ]
    assert expected or below

    files, _ = listed(tmp_path / below)

    assert files == sorted(name.removeprefix(prefix) for name in expected)


GENERATED = {
    "node_modules/a/readme.md": False,
    "x/NODE_MODULES/readme.md": False,
    "py/lib/__pycache__/a.txt": False,
    "env/pyvenv.cfg": False,
    "env/lib/notes.md": False,
    "cache/CACHEDIR.TAG": False,
    "cache/a.md": False,
    "browser/key4.db": False,
    "browser/notes.md": False,
    "web/package.json": True,
    "web/build/a.md": False,
    "web/src/build/a.md": True,
    "build/house.md": True,
    "target/goals.md": True,
    "vendor/contract.md": True,
    "rust/Cargo.toml": True,
    "rust/target/doc.md": False,
    "go/go.mod": True,
    "go/vendor/x.md": False,
    "envelope/letter.md": True,
}


def test_generated_folders_are_offered_only_if_included_by_hubignore(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(GENERATED, "text"))
    files, left = listed(tmp_path)
    assert files == sorted(name for name, is_offered in GENERATED.items() if is_offered)
    assert left == {SkipReason.GENERATED: "9"}

    write(tmp_path, {".hubignore": "!env/\n!web/build/\n!node_modules/\n/build/\n"})
    files, left = listed(tmp_path)
    again = {"env/pyvenv.cfg", "env/lib/notes.md", "web/build/a.md", "node_modules/a/readme.md"}
    again |= {"x/NODE_MODULES/readme.md"} & set(files)  # where the system folds case
    offered = {name for name, is_offered in GENERATED.items() if is_offered} - {"build/house.md"}
    assert set(files) == offered | again
    assert left[SkipReason.IGNORED] == "1"


def test_hubignore_overrides_gitignore_but_not_private_names(tmp_path: Path) -> None:
    tree = {".gitignore": "*.txt\n", ".hubignore": "!a.txt\nb.md\n!.env\n!id_rsa\n", ".env": "", "id_rsa": ""}
    write(tmp_path, {**tree, "a.txt": "", "b.txt": "", "b.md": "", "c.md": ""})

    assert listed(tmp_path) == (["a.txt", "c.md"], {"hidden": "2", "key_file": "2", "ignored": "2"})


def test_ignore_patterns_of_the_owner_override_ignore_files_in_every_folder(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.tmp\n", "sub/.hubignore": "!b.log\n!c.md\n"})
    write(tmp_path, dict.fromkeys(("a.tmp", "top.md", "sub/b.log", "sub/c.md", "sub/top.md"), ""))
    write(tmp_path, dict.fromkeys(("node_modules/d.md", "drafts/e.md", "sub/drafts/f.md"), ""))
    ignore = ["*.log", "c.md", "/top.md", "/drafts/", "!a.tmp", "!node_modules/"]

    files, left = listed(tmp_path, ignore=ignore)

    assert files == ["a.tmp", "node_modules/d.md", "sub/drafts/f.md", "sub/top.md"]
    assert left == {"hidden": "2", "ignored": "4"}
    assert listed(tmp_path, "r/drafts/e.md", ignore=ignore) == ([], {"r/drafts": "ignored"})
    write(tmp_path / "repo", {".gitignore": "in/\n", ".git/HEAD": "", "in/a.log": "", "in/b.md": ""})
    assert listed(tmp_path / "repo/in", ignore=ignore) == (["b.md"], {"ignored": "1"})


def test_hidden_files_are_offered_on_request_without_keys_caches_and_ignore_files(tmp_path: Path) -> None:
    kept = (".ssh/config", ".env", ".env.local", ".git/HEAD", ".bash_history", "a/.hubignore")
    write(tmp_path, dict.fromkeys((".plan.md", ".config/notes.md", *kept, ".cache/page.md"), ""))

    files, left = listed(tmp_path, hidden=True)

    assert files == [".config/notes.md", ".plan.md"]
    assert left == {"key_file": "4", "version_control": "1", "hidden": "1", "generated": "1"}
    assert listed(tmp_path, "r/.config", hidden=True)[0] == [".config/notes.md"]
    assert listed(tmp_path, "r/.ssh", hidden=True) == ([], {"r/.ssh": "key_file"})


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("r/node_modules/a", "r/node_modules: generated"),
        ("r/node_modules", "r/node_modules: generated"),
        ("r/out.md", "r/out.md: ignored"),
        ("r/web/dist/a/b.md", "r/web/dist: generated"),
        ("r/bad/in/a.md", "r/bad: bad_ignore_file: .gitignore:2: '[z-a]' is not a pattern"),
        ("r/.hidden/a.md", "r/.hidden: hidden"),
    ],
)
def test_excluded_path_named_by_an_agent_is_refused_with_the_reason(
    tmp_path: Path, asked: str, reason: str
) -> None:
    names = ("node_modules/a/b.md", "out.md", "web/package.json", "web/dist/a/b.md", "bad/in/a.md")
    write(tmp_path, dict.fromkeys((*names, ".hidden/a.md"), "text"))
    write(tmp_path, {".gitignore": "out.md\n", "bad/.gitignore": "a\n[z-a]\n"})

    files, left = listed(tmp_path, asked)

    assert (files, [f"{path}: {why}" for path, why in left.items()]) == ([], [reason])


@pytest.mark.parametrize("name", [".gitignore", ".hubignore"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ok\n[z-a].md\n", ":2: '[z-a].md' is not a pattern"),
        (b"# c\n\n!\n", ":3: '!' is not a pattern"),
        (b"open[\n", ":1: 'open[' is not a pattern"),
        (b"end\\\n", ":1: 'end\\\\' is not a pattern"),
        (b"[[:alpha:]].md\nok\n", ":1: a class such as [:alpha:] is not understood"),
        (b"a\r\nb\nK\xf6ln\n", ":3: it is not UTF-8"),
        (b"x\n" * 600_000, " has more than 1048576 bytes"),
    ],
)
def test_broken_ignore_file_excludes_the_folder_and_reports_the_line(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    write(tmp_path, {"a.md": "", "sub/b.md": "", "sub/x/c.md": "", f"sub/{name}": content})

    assert listed(tmp_path) == (["a.md"], {"r/sub": f"bad_ignore_file: {name}{why}"})


def test_linked_or_unreadable_ignore_file_excludes_the_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "", "link/b.md": "", "folder/c.md": ""})
    (tmp_path / "link/.gitignore").symlink_to("/etc/hostname")
    (tmp_path / "folder/.gitignore").mkdir()

    files, left = listed(tmp_path)

    assert files == ["a.md"]
    assert left["r/link"].startswith("bad_ignore_file: .gitignore cannot be read")
    assert left["r/folder"].startswith("bad_ignore_file: .gitignore ")


def test_root_within_a_repository_follows_outer_ignore_rules_unless_excluded_itself(
    tmp_path: Path,
) -> None:
    write(tmp_path, {".gitignore": "*.md\n", "repo/.gitignore": "private/\n/drafts/\n", "repo/.git/HEAD": ""})
    write(tmp_path, dict.fromkeys(("repo/docs/a.md", "repo/docs/private/b.md", "repo/drafts/c.md"), ""))

    assert listed(tmp_path / "repo/docs")[0] == ["a.md"]  # the rules above the repository do not count
    assert listed(tmp_path / "repo/drafts")[0] == ["c.md"], "the owner shared it in spite of them"

    write(tmp_path, {"plain/.git/HEAD": "", "plain/a/b/c.md": ""})
    assert listed(tmp_path / "plain/a/b")[0] == ["c.md"], "a repository may have no ignore file"

    write(tmp_path, {"repo/.gitignore": "a\n[z-a]\n"})
    assert listed(tmp_path / "repo/docs") == (
        [],
        {"r": "bad_ignore_file: .gitignore:2: '[z-a]' is not a pattern"},
    )


STATE_FILES = ("desk.db", "desk.db-wal", "desk.db.lock", "desk.db.lock-sqlite", "desk.hubs", "desk.2.key")


@pytest.mark.parametrize("asked", [(), ("r/.local/hub/devices/desk.db",), ("r/.local/hub/node_id",)])
def test_state_files_of_devices_and_hubs_are_never_offered(tmp_path: Path, asked: tuple[str, ...]) -> None:
    write(tmp_path, dict.fromkeys((f".local/hub/devices/{name}" for name in STATE_FILES), "x"))
    write(tmp_path, {".local/hub/devices/notes.md": "x", ".config/hub/device.toml": "x", ".local/a.md": "x"})
    write(tmp_path, {".local/hub/hub.db": "x", ".local/hub/node_id": "x", ".hubignore": "!**\n!*\n!hub/\n"})
    files, left_out = listed(tmp_path, *asked, hidden=True, ignore=["!*.db"])
    assert files == ([] if asked else [".local/a.md"])
    others = {} if asked else {SkipReason.KEY_FILE: "1", SkipReason.HIDDEN: "1"}  # .hubignore itself
    assert left_out == {SkipReason.GENERATED: "1", **others}


def test_device_state_in_a_root_is_excluded_and_neighbouring_notes_are_offered(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys((*STATE_FILES, "desk.md", "other.db", "device.toml"), "x"))
    files, left_out = listed(tmp_path, hidden=True)
    assert files == ["desk.md", "other.db"]
    assert left_out == {SkipReason.GENERATED: "5", SkipReason.KEY_FILE: "2"}
    assert listed(tmp_path, "r/desk.db")[1] == {"r/desk.db": "generated: the state of a device"}
