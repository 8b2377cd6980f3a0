"""An agent sees what its owner shared, and nothing else."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hub.base.version import command_to_add
from hub.device.shared import (
    NO_TEXT,
    Root,
    SharedFile,
    SharedFolders,
    UnreadableFile,
    declare,
    root_spellings,
    settle,
)
from hub.text.files import AUDIO, PICTURES, PLAIN, media_type_of
from protocol.skipped_files import SkipReason
from protocol.work import MANY, RunConfig, RunLimits
from tests.hub.device.test_secret_scan import PLANTED, Maker
from tests.support.families import each

pytestmark = pytest.mark.usefixtures("way")


def _nothing() -> None:
    pass


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "notes").mkdir(parents=True)
    return folder


def _share(
    home: Path, *folders: str, known: tuple[str, ...] = (), max_file_bytes: int = 1_000
) -> SharedFolders:
    declared = declare([home / folder for folder in folders])
    settled = settle(declared, [os.path.realpath(home / folder) for folder in known])
    roots = [Root(os.path.basename(path), path, said) for path, said in settled]
    return SharedFolders(roots, home=str(home), max_file_bytes=max_file_bytes)


def test_root_spellings_are_relative_to_home_and_all_or_none(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.device.shared.MAX_ROOTS", 3)
    docs = tmp_path / "docs"
    docs.mkdir()
    (home / "linked").symlink_to(docs)

    def told(*folders: Path) -> list[str]:
        return root_spellings(declare(folders), str(home))

    assert told(home / "notes", docs) == ["~/notes", str(docs)]
    assert told(home) == ["~"]
    assert told(tmp_path) == ["~", str(tmp_path)]  # the home lies in it
    assert told(home / "linked") == [str(docs), "~/linked"]
    many = [home / f"folder-{n}" for n in range(4)]
    for folder in many:
        folder.mkdir()
    assert told(*many) == []  # all of them, or none
    assert len(told(*many[1:])) == 3


def _write(home: Path, *names: str, text: str = "call Ana") -> None:
    for name in names:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _look(
    shared: SharedFolders,
    *asked: str,
    extensions: tuple[str, ...] = (),
    files: int = 2_000,
    most_bytes: int = 10_000,
) -> tuple[list[SharedFile], dict[str, str]]:
    places, refused = shared.places(asked)
    config = RunConfig(paths=list(asked), file_extensions=list(extensions))
    found, skipped = shared.list_files(places, config, RunLimits(files=files, bytes=most_bytes), _nothing)
    counts = {f"{one.files} {one.reason}": "" for one in skipped if one.path == MANY}
    return found, {one.path: one.reason for one in [*refused, *skipped] if one.path != MANY} | counts


def _seen(shared: SharedFolders, *asked: str, **options: Any) -> tuple[list[str], dict[str, str]]:
    """Return the paths of the files that a run finds, and what it skips."""
    files, skipped = _look(shared, *asked, **options)
    return [file.path for file in files], skipped


def test_files_are_named_by_their_folder_and_sorted(home: Path) -> None:
    _write(home, "notes/b.md", "notes/a/z.md", "notes/c.md", "diary/today.md")

    assert _seen(_share(home, "notes", "diary")) == (
        ["diary/today.md", "notes/a/z.md", "notes/b.md", "notes/c.md"],
        {},
    )


@pytest.mark.parametrize(
    "asked", ["~", "~/notes", "notes", ".", "{home}/notes", "{home}", "/", "work/../notes", "~/x/../notes/"]
)
def test_requested_path_is_accepted_in_each_notation(home: Path, asked: str) -> None:
    _write(home, "notes/a.md")

    assert _seen(_share(home, "notes"), asked.format(home=home)) == (["notes/a.md"], {})


@pytest.mark.parametrize(
    "asked",
    ["/etc", "/etc/passwd", "~/other", "..", "../other", "notes/../../other", "~root/x", "~/notes-2", "a\0b"],
)
def test_path_outside_the_shared_folders_is_refused(home: Path, asked: str) -> None:
    _write(home, "notes/a.md", "other/b.md", "notes-2/c.md")

    files, skipped = _look(_share(home, "notes"), asked)
    assert files == []
    assert skipped in ({asked: SkipReason.OUTSIDE_SHARED}, {asked: SkipReason.MISSING})


def test_subfolder_or_single_file_of_a_shared_folder_may_be_requested(home: Path) -> None:
    _write(home, "notes/a.md", "notes/work/b.md", "notes/work/c.md")

    assert _seen(_share(home, "notes"), "~/notes/work", "notes/a.md", "work/c.md") == (
        ["notes/a.md", "notes/work/b.md", "notes/work/c.md"],
        {},
    )


def test_a_relative_path_may_lie_in_any_of_the_folders(home: Path) -> None:
    _write(home, "notes/work/a.md", "diary/x.md")

    assert _seen(_share(home, "notes", "diary"), "work", "nowhere") == (
        ["notes/work/a.md"],
        {"nowhere": SkipReason.MISSING},
    )


def test_files_of_another_extension_are_counted_and_not_listed(home: Path) -> None:
    _write(home, "notes/a.md", "notes/b.MD", "notes/c.png", "notes/d.txt")

    assert _seen(_share(home, "notes"), extensions=(".md", "TXT")) == (
        ["notes/a.md", "notes/b.MD", "notes/d.txt"],
        {"1 other_extension": ""},
    )


def test_composed_and_decomposed_unicode_names_are_two_files(home: Path) -> None:
    composed, decomposed = "notes/Caf\u00e9.md", "notes/Cafe\u0301.md"
    _write(home, composed, decomposed)
    assert set(_seen(_share(home, "notes"))[0]) == {composed, decomposed}, "two names are two files"
    assert _seen(_share(home, "notes"), decomposed)[0] == [decomposed]


PRIVATE = {
    "notes/.hidden.md": SkipReason.HIDDEN,
    "notes/.git/config": SkipReason.VERSION_CONTROL,
    "notes/CVS/Root": SkipReason.VERSION_CONTROL,
    "notes/id_rsa": SkipReason.KEY_FILE,
    "notes/id_ed25519.pub": SkipReason.KEY_FILE,
    "notes/server.PEM": SkipReason.KEY_FILE,
    "notes/tls.key": SkipReason.KEY_FILE,
    "notes/.env": SkipReason.KEY_FILE,
    "notes/prod.env": SkipReason.KEY_FILE,
    "notes/passwords.kdbx": SkipReason.KEY_FILE,
    "notes/Passwords.txt": SkipReason.KEY_FILE,
    "notes/credentials.json": SkipReason.KEY_FILE,
}


def test_private_files_are_not_sent_and_are_counted_without_their_names(home: Path) -> None:
    _write(home, "notes/a.md", *PRIVATE)

    assert _seen(_share(home, "notes")) == (
        ["notes/a.md"],
        {"1 hidden": "", "2 version_control": "", f"{len(PRIVATE) - 3} key_file": ""},
    )


@pytest.mark.parametrize("asked", PRIVATE)
def test_private_file_requested_by_name_is_refused_with_the_reason(home: Path, asked: str) -> None:
    _write(home, *PRIVATE)
    files, skipped = _look(_share(home, "notes"), asked)
    assert (files, [*skipped.values()]) == ([], [PRIVATE[asked]])


def test_path_with_a_secret_in_the_name_is_counted_but_not_listed(home: Path) -> None:
    names = [
        f"notes/{PLANTED[kind](Maker(1)).replace('/', '_')}" for kind in ("github", "en", "google", "slack")
    ]
    _write(home, "notes/a.md", *(f"{name}.md" for name in names), *(f"{name}/b.md" for name in names))

    assert _seen(_share(home, "notes")) == (["notes/a.md"], {"8 key_in_text": ""})
    files, skipped = _look(_share(home, "notes"), f"{names[0]}/b.md")
    assert (files, [reason.partition(":")[0] for reason in skipped.values()]) == ([], ["key_in_text"])


def test_folder_with_a_hidden_name_may_be_shared_explicitly(home: Path) -> None:
    _write(home, ".plans/a.md")

    assert _seen(_share(home, ".plans"))[0] == [".plans/a.md"]


def test_file_hard_linked_outside_the_shared_folder_is_skipped(home: Path) -> None:
    _write(home, "notes/a.md", "secret/b.md")
    (home / "notes/b.md").hardlink_to(home / "secret/b.md")
    (home / "notes/same.md").hardlink_to(home / "notes/a.md")

    found, skipped = _seen(_share(home, "notes"))
    assert found == ["notes/a.md", "notes/same.md"]
    assert [reason.partition(":")[0] for reason in skipped.values()] == [SkipReason.HARD_LINK]


def test_file_hard_linked_outside_after_the_listing_is_not_opened(home: Path) -> None:
    _write(home, "notes/a.md")
    shared = _share(home, "notes")
    (file,), _ = _look(shared)
    (home / "b.md").hardlink_to(home / "notes/a.md")
    with pytest.raises(UnreadableFile, match="hard_link"), shared.open(file):
        pass


def test_links_special_files_and_large_files_are_skipped_with_a_reason(home: Path) -> None:
    _write(home, "notes/a.md", "secret/b.md", "notes/big.md", text="x" * 900)
    (home / "notes/long.md").write_text("x" * 1_001)
    (home / "notes/all.mbox").write_text("x" * 1_001)
    (home / "notes/link.md").symlink_to(home / "secret/b.md")
    (home / "notes/door").symlink_to(home / "secret")
    (home / "notes/loop").symlink_to(home / "notes")
    special = {}
    if hasattr(os, "mkfifo"):
        os.mkfifo(home / "notes/pipe.md")
        special["notes/pipe.md"] = SkipReason.NOT_A_FILE
    if hasattr(socket, "AF_UNIX"):
        here = os.getcwd()
        os.chdir(home / "notes")  # a socket's path may be short only
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("s")
        os.chdir(here)
        special["notes/s"] = SkipReason.NOT_A_FILE

    assert _seen(_share(home, "notes")) == (
        ["notes/a.md", "notes/big.md"],
        {
            "notes/door": SkipReason.SYMLINK,
            "notes/link.md": SkipReason.SYMLINK,
            "notes/loop": SkipReason.SYMLINK,
            "notes/all.mbox": f"{SkipReason.TOO_LARGE}: 1001 bytes, at most 1000 are read;"
            " split it by year, or let the hub read the mailbox",
            "notes/long.md": f"{SkipReason.TOO_LARGE}: 1001 bytes, at most 1000 are read;"
            " split it into parts",
            **special,
        },
    )


@pytest.mark.parametrize("asked", ["~/notes/door/b.md", "~/notes/door", "notes/link.md"])
def test_symbolic_link_requested_by_name_is_not_followed(home: Path, asked: str) -> None:
    _write(home, "secret/b.md")
    (home / "notes/link.md").symlink_to(home / "secret/b.md")
    (home / "notes/door").symlink_to(home / "secret")

    files, skipped = _look(_share(home, "notes"), asked)
    assert (files, [*skipped.values()]) == ([], [SkipReason.SYMLINK])


def test_non_utf8_file_names_are_skipped_harmlessly(home: Path) -> None:
    _write(home, "notes/a.md")
    with open(os.fsencode(home / "notes") + b"/caf\xe9.md", "wb"):
        pass

    assert _seen(_share(home, "notes")) == (["notes/a.md"], {"notes/caf?.md": SkipReason.NAME_NOT_UTF8})


def test_a_folder_without_permission_is_skipped(home: Path) -> None:
    _write(home, "notes/a.md", "notes/closed/b.md")
    (home / "notes/closed").chmod(0)
    try:
        found, skipped = _seen(_share(home, "notes"))
    finally:
        (home / "notes/closed").chmod(0o700)

    if os.geteuid() == 0:
        assert found == ["notes/a.md", "notes/closed/b.md"]
    else:
        assert skipped == {"notes/closed": SkipReason.UNREADABLE}


def test_folders_deeper_than_the_limit_are_skipped(home: Path) -> None:
    deep = "notes" + "/d" * 48
    _write(home, f"{deep}/a.md", f"{deep}/e/b.md")

    assert _seen(_share(home, "notes")) == ([f"{deep}/a.md"], {f"{deep}/e": SkipReason.TOO_DEEP})


def test_file_listing_stops_at_the_file_and_byte_limits_of_the_run(home: Path) -> None:
    _write(home, "notes/a.md", "notes/b.md", "notes/c.md", text="x" * 10)

    assert _look(_share(home, "notes"), files=2)[1] == {"notes/c.md": SkipReason.LIMIT}
    assert _look(_share(home, "notes"), most_bytes=15)[1] == {
        "notes/b.md": SkipReason.LIMIT,
        "notes/c.md": SkipReason.LIMIT,
    }


def test_files_beyond_the_listing_limit_of_a_device_are_counted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.device.shared._MAX_LISTED", 2)
    _write(home, "notes/a.md", "notes/b.md", "notes/c.md", "notes/d.md")
    (home / "notes/a.jpg").touch()

    found, skipped = _seen(_share(home, "notes"))
    assert found == ["notes/a.md", "notes/b.md"]
    assert "2 limit: beyond the 2 files that a device lists" in skipped


def test_files_without_text_do_not_count_for_the_run_limits(home: Path) -> None:
    _write(home, "notes/a.jpg", "notes/b.JPG", "notes/c.tar.gz", "notes/z.md", text="x" * 10)
    (home / "notes/long.mp4").write_text("x" * 1_001)

    found, skipped = _seen(_share(home, "notes"), files=1, most_bytes=10)
    assert found == ["notes/z.md"]
    assert {path: reason.partition(":")[0] for path, reason in skipped.items()} == dict.fromkeys(
        ("notes/a.jpg", "notes/b.JPG", "notes/c.tar.gz", "notes/long.mp4"), SkipReason.NOT_CONVERTIBLE
    )


def test_recordings_are_listed_only_if_named_and_readable_by_the_hub(home: Path) -> None:
    _write(home, "notes/a.m4a", "notes/b.opus", "notes/c.jpg", text="x")
    shared = _share(home, "notes")
    places, _ = shared.places(())
    reads = ("audio/mp4", "text/html")
    for endings, listed, why in (
        ((), [], "such files are read only for an agent whose file_extensions name their ending"),
        ((".m4a", "opus", ".jpg"), ["a.m4a"], "a recording needs [transcription] in the settings of the hub"),
    ):
        config = RunConfig(file_extensions=list(endings))
        files, skipped = shared.list_files(places, config, None, lambda: None, readable=reads)
        assert [file.parts[-1] for file in files] == listed
        reasons = {one.path: one.reason for one in skipped}
        assert reasons["notes/b.opus"].endswith(why)
        assert "notes/c.jpg" in reasons


def test_picture_without_ocr_is_skipped_with_the_required_extra(home: Path) -> None:
    _write(home, "notes/a.png", text="x")
    shared = _share(home, "notes")
    places, _ = shared.places(())
    config = RunConfig(file_extensions=[".png"])
    _, (skipped,) = shared.list_files(places, config, None, lambda: None)
    assert skipped.reason.endswith(f"a picture of text needs the extra [ocr]: {command_to_add('ocr')}")
    files, _ = shared.list_files(places, config, None, lambda: None, readable=("image/png",))
    assert [file.path for file in files] == ["notes/a.png"]


@each("ending", NO_TEXT)
def test_media_type_of_every_convertible_ending_is_a_text_type(ending: str) -> None:
    assert media_type_of(f"a{ending}") in {PLAIN, *AUDIO, *PICTURES}


def test_folder_within_a_shared_folder_is_shared_once(home: Path) -> None:
    _write(home, "notes/work/a.md")

    assert _seen(_share(home, "notes/work", "notes", "notes"))[0] == ["notes/work/a.md"]


@pytest.mark.parametrize("folders", [("docs/notes", "docs"), ("docs", "docs/notes"), ("docs",)])
def test_files_retain_names_if_the_parent_folder_is_shared_later(
    home: Path, folders: tuple[str, ...]
) -> None:
    _write(home, "docs/notes/x.md", "docs/y.md")

    assert _seen(_share(home, *folders, known=("docs/notes",))) == (["docs/y.md", "notes/x.md"], {})


def test_files_retain_names_if_a_subfolder_is_shared_later(home: Path) -> None:
    _write(home, "docs/notes/x.md", "docs/y.md")

    assert _seen(_share(home, "docs/notes", "docs", known=("docs",)))[0] == ["docs/notes/x.md", "docs/y.md"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("~/docs/work/notes/x.md", ["notes/x.md"]),
        ("docs/work/notes/x.md", ["notes/x.md"]),
        ("~/docs/work/notes", ["notes/x.md"]),
        ("notes", ["notes/x.md"]),
        ("docs/work", ["docs/work/z.md", "notes/x.md"]),
        ("docs", ["docs/work/z.md", "docs/y.md", "notes/x.md"]),
        ("~", ["docs/work/z.md", "docs/y.md", "notes/x.md"]),
        ("~/docs/y.md", ["docs/y.md"]),
    ],
)
def test_requested_path_is_found_under_the_innermost_root(home: Path, asked: str, found: list[str]) -> None:
    _write(home, "docs/work/notes/x.md", "docs/work/z.md", "docs/y.md")

    assert _seen(_share(home, "docs", known=("docs/work/notes",)), asked) == (found, {})


@pytest.mark.parametrize("inner", ["docs/.plans", "docs/.plans/work", "docs/gone", "docs/link"])
def test_former_root_hidden_in_the_shared_parent_is_not_shared_again(home: Path, inner: str) -> None:
    _write(home, "docs/y.md", "docs/.plans/work/x.md", "secret/s.md")
    (home / "docs/link").symlink_to(home / "secret")

    declared = declare([home / "docs"])

    assert settle(declared, [f"{declared[0][0]}{inner.removeprefix('docs')}"]) == declared


def test_hidden_root_within_another_root_remains_a_separate_root(home: Path) -> None:
    _write(home, "docs/y.md", "docs/.plans/x.md")

    shared = _share(home, "docs", "docs/.plans", known=("docs/.plans",))

    assert _seen(shared)[0] == [".plans/x.md", "docs/y.md"]


def test_a_shared_folder_may_itself_be_reached_by_a_link(home: Path) -> None:
    _write(home, "notes/a.md")
    (home / "short").symlink_to(home / "notes")

    shared = _share(home, "short")

    assert (_seen(shared, "~/short")[0], _seen(shared, "~/notes")[0]) == (["notes/a.md"], ["notes/a.md"])


@pytest.mark.parametrize("folder", ["/", "/nowhere", "{home}/notes/a.md"])
def test_path_without_a_folder_cannot_be_shared(home: Path, folder: str) -> None:
    _write(home, "notes/a.md")

    with pytest.raises(ValueError, match=r"folder"):
        declare([Path(folder.format(home=home))])


def test_root_replaced_by_a_symbolic_link_is_not_followed(home: Path) -> None:
    _write(home, "notes/a.md", "secret/b.md")
    shared = _share(home, "notes")
    (home / "notes").rename(home / "old")
    (home / "notes").symlink_to(home / "secret")

    assert _look(shared) == ([], {"notes": SkipReason.SYMLINK})


@pytest.mark.parametrize("becomes", ["link", "pipe", "folder", "nothing", "large"])
def test_listed_file_replaced_by_a_link_pipe_or_folder_is_not_opened(home: Path, becomes: str) -> None:
    _write(home, "notes/a.md", "secret/b.md")
    shared = _share(home, "notes")
    (file,), _ = _look(shared)
    path = home / "notes/a.md"
    path.unlink()
    match becomes:
        case "link":
            path.symlink_to(home / "secret/b.md")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_text("x" * 2_000)

    with pytest.raises(UnreadableFile), shared.open(file):
        pass


def test_folder_replaced_by_a_link_after_the_listing_is_not_entered(home: Path) -> None:
    _write(home, "notes/sub/a.md", "secret/a.md")
    shared = _share(home, "notes")
    (file,), _ = _look(shared)
    (home / "notes/sub").rename(home / "old")
    (home / "notes/sub").symlink_to(home / "secret")

    with pytest.raises(UnreadableFile) as refusal, shared.open(file):
        pass
    assert refusal.value.reason is SkipReason.SYMLINK


def test_replacing_a_folder_with_a_link_does_not_escape_the_shared_folder(home: Path, tmp_path: Path) -> None:
    _write(home, "notes/sub/a.md", text="shared")
    _write(tmp_path, "secret/a.md", text="SECRET")
    honest, link, aside = home / "notes/sub", home / "notes/door", home / "notes/aside"
    link.symlink_to(tmp_path / "secret")
    swaps, is_over = [0], threading.Event()

    def attack() -> None:
        """Swap a folder and a link to a secret for each other, as fast as possible."""
        while not is_over.is_set():
            honest.rename(aside)
            link.rename(honest)
            honest.rename(link)
            aside.rename(honest)
            swaps[0] += 1

    attacker = threading.Thread(target=attack, daemon=True)
    attacker.start()
    shared = _share(home, "notes")
    root = shared.places([])[0][0].root
    file = SharedFile("notes/sub/a.md", root, ("sub", "a.md"), 6, 0)
    read = refused = 0

    while read + refused < 2_000 or swaps[0] < 1_000:
        try:
            with shared.open(file) as descriptor:
                assert os.read(descriptor, 100) == b"shared"
                read += 1
        except UnreadableFile:
            refused += 1
    is_over.set()
    attacker.join()
    assert min(read, refused) > 0


def test_hard_links_to_the_device_database_are_not_opened_and_locks_remain(
    home: Path,
) -> None:
    notes = home / "notes"
    db, moved = home / "desk.db", notes / "moved.md"
    moved.touch()
    db.symlink_to(moved)
    os.link(moved, notes / "other.md")
    _write(home, "notes/a.md", "notes/later.md")
    shared = SharedFolders([Root("notes", str(notes), str(notes))], home=str(home), database=db)
    assert _seen(shared) == (["notes/a.md", "notes/later.md"], {"2 generated": ""})
    later = _look(shared)[0][1]

    (notes / "later.md").unlink()
    os.link(moved, notes / "later.md")
    with closing(sqlite3.connect(moved, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnreadableFile, match="generated: the state of a device"), shared.open(later):
            pass
        busy = f"import sqlite3; sqlite3.connect({str(moved)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", busy], capture_output=True, text=True)
        assert "database is locked" in other.stderr
