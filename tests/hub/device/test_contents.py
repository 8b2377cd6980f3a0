"""Digests are of all the bytes, pieces give the text back, and what changes meanwhile is left alone."""

import base64
import hashlib
import io
import os
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.base.clock import IdFactory
from hub.device import run_reading
from hub.device.device_file import open_device_store
from hub.device.digests import Digests, open_digests
from hub.device.run_reading import Contents, FileText, cut
from hub.device.shared import Root, SharedFile, SharedFolders, UnreadableFile
from hub.text import office
from hub.text.files import NotConvertible
from protocol.skipped_files import SkipReason
from protocol.work import RunConfig
from tests.support.clock import FakeClock, SeededChance


@given(st.text(max_size=80), st.integers(4, 40), st.integers(6, 80))
def test_pieces_join_to_the_text_and_fit_the_size_limits(text: str, piece_bytes: int, escaped: int) -> None:
    escaped += 6  # the quotes, and one escaped character
    pieces = cut(text, piece_bytes=piece_bytes, escaped_bytes=escaped)

    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= piece_bytes for piece in pieces)
    assert all(len(msgspec.json.encode(piece)) <= escaped for piece in pieces)


def test_control_characters_count_with_the_escaped_length_in_a_piece() -> None:
    assert max(map(len, cut("\x01" * 1_000, piece_bytes=1_000, escaped_bytes=602))) <= 100


def test_text_is_cut_into_few_pieces_and_an_empty_text_is_a_single_piece() -> None:
    assert cut("", piece_bytes=4, escaped_bytes=8) == [""]
    pieces = cut("x" * 1_000, piece_bytes=300, escaped_bytes=302)
    assert [len(piece) for piece in pieces] == [300, 300, 300, 100]


class _Folder:
    """A shared folder with one file, the digests of a device, and a count of how often files were read."""

    def __init__(self, folder: Path, clock: FakeClock, digests: Digests) -> None:
        self.path = folder / "a.md"
        if not self.path.exists():
            self.path.write_bytes(b"call Ana")
        self.root = Root("notes", os.path.realpath(folder), str(folder))
        self.digests = digests
        self.shared = SharedFolders([self.root], home="/nowhere", digests=digests)
        self.contents = Contents(self.shared, clock, digests)
        self.reads = 0
        self.age(3_600, clock)

    @property
    def file(self) -> SharedFile:
        return self.named("a.md")

    def named(self, name: str) -> SharedFile:
        return SharedFile(f"notes/{name}", self.root, (name,), 8, 0)

    def age(self, seconds: float, clock: FakeClock) -> None:
        """Make the file's times lie so far in the clock's past."""
        clock.set_wall(clock.now().fromtimestamp(self.path.stat().st_ctime + seconds, clock.now().tzinfo))

    def listed(self) -> dict[str, str]:
        """The digest of every file, by path below the folder, as a run lists them."""
        places, _ = self.shared.places([])
        files, _ = self.shared.list_files(places, RunConfig(), None, lambda: None)
        found = {"/".join(file.parts): self.contents.digest(file, self._count) for file in files}
        self.contents.write_digests()
        return found

    def digest(self) -> str:
        return self.listed()["a.md"]

    def _count(self) -> None:
        self.reads += 1


@pytest.fixture
def device_file(tmp_path: Path, clock: FakeClock) -> Path:
    path = tmp_path / "device.db"
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())):
        return path


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock, device_file: Path) -> Iterator[_Folder]:
    (tmp_path / "notes").mkdir()
    with open_digests(device_file) as digests:
        yield _Folder(tmp_path / "notes", clock, digests)


def test_file_digest_covers_all_bytes_and_is_computed_once(folder: _Folder) -> None:
    digests = [(folder.digest(), folder.reads) for _ in range(2)]
    assert digests == [(hashlib.sha256(b"call Ana").hexdigest(), digests[0][1])] * 2


SECRET = b"# Notes\n\nWifi password: 7ab-tr9_xq\n"


def office_file(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("word/document.xml", b"<w:p><w:t>Notes</w:t></w:p><w:p>" + text + b"</w:p>")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "detail"),
    [
        ("a.md", SECRET, "labelled-password in line 3"),
        ("a.md", SECRET.replace(b"xq", b"xq gitleaks:allow"), None),
        ("a.html", b"<p>Notes</p><p>Wifi password: 7ab-tr9_xq</p>", "labelled-password in line 2"),
        (
            "a.docx",
            office_file(b"<w:t>Wifi pass</w:t><w:t>word: 7ab-tr9_xq</w:t>"),
            "labelled-password in line 2",
        ),
        ("a.docx", office_file(b"<w:t>Call Ana</w:t>"), None),
    ],
)
def test_file_with_a_secret_is_unreadable_with_kind_and_line_as_detail(
    folder: _Folder, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, detail: str | None
) -> None:
    monkeypatch.setattr(office, "is_installed", lambda: False)  # the hub converts the file
    (folder.path.parent / name).write_bytes(content)

    def text() -> FileText:
        reads = {"application/vnd.openxmlformats-officedocument.wordprocessingml.document"}
        file = folder.named(name)
        return folder.contents.text(file, lambda: None, piece_bytes=999, escaped_bytes=1_999, hub_reads=reads)

    if detail is None:
        assert text().pieces
    else:
        with pytest.raises(UnreadableFile, match=f"^{SkipReason.SECRET}: {detail}$"):
            text()


def test_restarted_device_reads_only_changed_files_for_digests(
    folder: _Folder, device_file: Path, clock: FakeClock
) -> None:
    (folder.path.parent / "b.md").write_bytes(b"pay rent")
    folder.age(3_600, clock)
    before = folder.listed()
    folder.path.write_bytes(b"call Bob")
    folder.age(3_600, clock)

    with open_digests(device_file) as digests:
        again = _Folder(folder.path.parent, clock, digests)
        after = again.listed()

    assert after == before | {"a.md": hashlib.sha256(b"call Bob").hexdigest()}
    assert again.reads == 2  # a block of the changed file, and its end


@pytest.mark.parametrize("are_times_old", [False, True])
def test_changed_file_has_a_new_digest_with_new_and_with_old_times(
    folder: _Folder, are_times_old: bool
) -> None:
    before, info = folder.digest(), folder.path.stat()
    folder.path.write_bytes(b"call Bob")
    if are_times_old:
        os.utime(folder.path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert folder.digest() != before


def test_digest_of_a_recently_written_file_is_computed_again(folder: _Folder, clock: FakeClock) -> None:
    folder.age(1, clock)
    folder.digest()
    reads = folder.reads
    folder.digest()
    assert folder.reads > reads


def test_digests_of_deleted_files_and_folders_are_forgotten(folder: _Folder, clock: FakeClock) -> None:
    notes = folder.path.parent
    (notes / "old" / "older").mkdir(parents=True)
    (notes / "old" / "older" / "c.md").write_bytes(b"c")
    (notes / "b.md").write_bytes(b"b")
    folder.age(3_600, clock)
    assert sorted(folder.listed()) == ["a.md", "b.md", "old/older/c.md"]
    assert folder.digests.of_folder(f"{folder.root.path}/old/older")
    shutil.rmtree(notes / "old")
    (notes / "b.md").unlink()

    assert (sorted(folder.listed()), list(folder.digests.of_folder(folder.root.path))) == (["a.md"], ["a.md"])
    assert not folder.digests.of_folder(f"{folder.root.path}/old/older")


def test_files_are_read_for_digests_without_the_digests_table(folder: _Folder, device_file: Path) -> None:
    with sqlite3.connect(device_file) as db:
        db.execute("DROP TABLE digests")

    assert folder.digest() == folder.digest() == hashlib.sha256(b"call Ana").hexdigest()


def test_device_file_without_a_digests_table_is_upgraded_without_loss_of_rows(
    device_file: Path, clock: FakeClock
) -> None:
    with sqlite3.connect(device_file) as db:
        db.execute("DROP TABLE digests")
        db.execute("INSERT INTO roots VALUES ('/home/ana/notes', 'notes')")
        version = db.execute("PRAGMA user_version").fetchone()

    with open_device_store(device_file, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        assert store.known_roots() == ["/home/ana/notes"]

    with sqlite3.connect(device_file) as db:
        assert db.execute("SELECT count(*) FROM digests").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == version  # an older device opens the file too


@pytest.mark.parametrize("longer", [b"call Ana and Bo", b"call"])
def test_file_changed_during_reading_is_skipped_as_changed(folder: _Folder, longer: bytes) -> None:
    def write_meanwhile() -> None:
        folder.path.write_bytes(longer)

    with pytest.raises(UnreadableFile) as refusal:
        folder.contents.digest(folder.file, write_meanwhile)

    assert refusal.value.reason is SkipReason.CHANGED


def test_file_text_has_the_digest_of_the_original_bytes(folder: _Folder) -> None:
    folder.path.write_bytes("Frühstück".encode("cp1252"))

    text = folder.contents.text(folder.file, lambda: None, piece_bytes=4, escaped_bytes=20)

    assert text.sha256 == hashlib.sha256("Frühstück".encode("cp1252")).hexdigest()
    assert "".join(text.pieces) == "Frühstück"
    assert text.media_type == "text/markdown"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (
            "Content-Type: application/pkcs7-mime; name=smime.p7m\n\nMAA=\n",
            "application/pkcs7-mime unreadable",
        ),
        ("Content-Type: multipart/encrypted; boundary=c\n\n--c--\n", "application/pgp-encrypted encrypted"),
        ("Content-Type: application/zip; name=a.zip\n\nPK\n", "application/zip no text"),
    ],
)
def test_left_out_parts_of_a_mail_are_counted_in_the_first_piece(
    folder: _Folder, part: str, name: str
) -> None:
    mail = f"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nCall Ana\n--b\n{part}--b--\n"
    folder.path.write_text(mail)
    folder.path.rename(folder.path.with_suffix(".eml"))
    text = folder.contents.text(folder.named("a.eml"), lambda: None, piece_bytes=400, escaped_bytes=400)
    assert {part.name: part.count for part in text.parts} == {"text/plain read": 1, name: 1}


def test_mail_text_has_the_header_date_and_the_hidden_part_count(folder: _Folder) -> None:
    sent = b"Date: Tue, 3 Jun 2025 10:00:00 +0200\nContent-Type: text/html\n\n<p>Call Ana</p><p hidden>x</p>"
    folder.path.write_bytes(sent)
    folder.path.rename(folder.path.with_suffix(".eml"))

    text = folder.contents.text(folder.named("a.eml"), lambda: None, piece_bytes=400, escaped_bytes=400)

    assert (text.pieces, text.modified_ms, text.hidden, text.encoding) == (
        ["Date: Tue, 3 Jun 2025 10:00:00 +0200\n\nCall Ana\n"],
        1_748_937_600_000,
        1,
        None,
    )


@pytest.mark.parametrize("hub_reads", [{"application/pdf"}, set()], ids=["hub reads it", "hub does not"])
def test_device_without_pdf_reader_sends_bytes_to_a_capable_hub(
    folder: _Folder, hub_reads: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)
    folder.path.write_bytes(b"%PDF-1.7 ...")
    folder.path.rename(folder.path.with_suffix(".pdf"))

    def read() -> FileText:
        return folder.contents.text(
            folder.named("a.pdf"), lambda: None, piece_bytes=5, escaped_bytes=20, hub_reads=hub_reads
        )

    if hub_reads:
        text = read()
        assert base64.b64decode("".join(text.pieces)) == b"%PDF-1.7 ..."
        assert (text.encoding, text.media_type) == ("base64", "application/pdf")
    else:
        with pytest.raises(UnreadableFile, match=r"\[files\]"):
            read()


@pytest.mark.parametrize("limit", ["convert_seconds", "convert_memory_bytes"])
def test_mail_reaching_a_conversion_limit_is_unreadable_with_the_limit_name(
    folder: _Folder, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(*_: object, **__: object) -> None:
        raise NotConvertible("it took too much", limit=limit)

    monkeypatch.setattr(run_reading, "convert", reach)
    folder.path.rename(folder.path.with_suffix(".eml"))
    with pytest.raises(UnreadableFile) as refusal:
        folder.contents.text(folder.named("a.eml"), lambda: None, piece_bytes=4, escaped_bytes=20)
    assert str(refusal.value) == f"{limit}: it took too much"
