"""A file that was built to hurt is refused, in words, and whoever asked for its text goes on."""

import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from anyio import from_thread

from hub.text import office, worker
from hub.text.convert import convert
from hub.text.files import Converted, ConvertLimits, NotConvertible
from hub.text.worker import DONE, REFUSED, ConversionRefusal
from tests.support import odd_files
from tests.support.processes import children
from tests.support.programs import ending

MIB = 1024 * 1024
LARGE_BOMBS = ("a docx that unpacks to 36 MiB", "a docx of 50,000 levels")  # for make soak
FILES = pytest.mark.skipif(not office.is_installed(), reason="needs the extra [files]")

REPORT = cache(lambda: odd_files.long_pdf(6_000))  # reading it takes ten seconds
PDF_BOMB = cache(lambda: odd_files.pdf_bomb(150 * MIB))
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a docx that unpacks to 36 MiB": ("a.docx", lambda: odd_files.docx_bomb(36 * MIB)),
    "a docx of 12,000 empty parts": ("a.docx", lambda: odd_files.docx_of_empty_parts(12_000)),
    "a docx whose words are made of words": ("a.docx", lambda: odd_files.docx_that_names_itself(9)),
    "a docx of 50,000 levels": ("a.docx", lambda: odd_files.docx_nested(50_000)),
    "a pdf page that unpacks to 150 MiB": ("a.pdf", PDF_BOMB),
    "a pdf under lock": ("a.pdf", odd_files.locked_pdf),
    "a pdf whose pages bite their own tail": ("a.pdf", odd_files.circular_pdf),
}


@pytest.mark.slow
@FILES
@pytest.mark.parametrize(
    ("path", "make"),
    [
        pytest.param(*bomb, id=name, marks=pytest.mark.soak if name in LARGE_BOMBS else ())
        for name, bomb in BOMBS.items()
    ],
)
def test_decompression_bomb_is_refused_with_little_memory_of_the_caller(
    path: str, make: Callable[[], bytes]
) -> None:
    data = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotConvertible) as refusal:
        convert(data, path=path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert "boom" not in str(refusal.value)
    assert (after - before) * 1024 < 50 * MIB


@FILES
@pytest.mark.parametrize("path", ["a.docx", "a.pdf"])
def test_damaged_file_is_refused_or_yields_the_intact_text(path: str) -> None:
    whole = odd_files.docx("Call Ana.") if path == "a.docx" else odd_files.pdf("Call Ana.")
    for data in odd_files.broken(whole):
        try:
            assert convert(data, path=path).text.strip() in "Call Ana."
        except NotConvertible as refusal:
            assert "Ana" not in str(refusal)


@FILES
@pytest.mark.parametrize(
    ("make", "limits", "why", "limit"),
    [
        (REPORT, ConvertLimits(seconds=0.5), r"not read within 0\.5 s", "convert_seconds"),
        (
            PDF_BOMB,
            ConvertLimits(memory_bytes=200 * MIB),
            "needs more than 200 MiB of memory",
            "convert_memory_bytes",
        ),
    ],
)
def test_conversion_beyond_time_or_memory_limit_is_ended(
    make: Callable[[], bytes], limits: ConvertLimits, why: str, limit: str
) -> None:
    data, others = make(), children()
    with pytest.raises(NotConvertible, match=why) as refusal:
        convert(data, path="a.pdf", limits=limits)
    assert refusal.value.limit == limit
    assert children() <= others


@FILES
def test_more_text_than_allowed_is_refused() -> None:
    with pytest.raises(NotConvertible, match="unpacks to more than 1048576 bytes of text"):
        convert(odd_files.docx_bomb(2 * MIB), path="a.docx", limits=ConvertLimits(bytes=MIB))


@pytest.mark.slow
@FILES
def test_mail_with_a_pdf_bomb_attached_still_yields_the_mail_text() -> None:
    message = EmailMessage()
    message.set_content("Call Ana.")
    message.add_attachment(PDF_BOMB(), maintype="application", subtype="pdf", filename="plan.pdf")
    text = convert(bytes(message), path="a.eml").text

    assert text.startswith("Call Ana.\n\n[attachment: plan.pdf, application/pdf, 299 KB, not read: damaged")


@FILES
@pytest.mark.parametrize("padding", [0, 40_000], ids=["small", "large"])
def test_a_pdf_attached_to_a_mail_is_read(padding: int) -> None:
    message = EmailMessage()
    message.set_content("See the plan." + " " * padding)
    message.add_attachment(
        odd_files.pdf("Pay rent."), maintype="application", subtype="pdf", filename="plan.pdf"
    )
    text = convert(bytes(message), path="a.eml").text

    assert text.endswith("[attachment: plan.pdf, application/pdf, 631 bytes]\nPay rent.\n")


@FILES
async def test_cancelled_conversion_ends_the_worker_process_at_once() -> None:
    report, others = REPORT(), children()

    def convert_it() -> None:
        convert(report, path="report.pdf", check=from_thread.check_cancelled)

    with anyio.fail_after(4):
        with anyio.move_on_after(0.4) as scope:
            await anyio.to_thread.run_sync(convert_it)
    assert scope.cancelled_caught
    assert children() <= others


# Says which process it started, then waits for it.
LONELY = """
from hub.text import worker
from hub.text.worker import DONE, REFUSED, ConversionRefusal
from tests.support import odd_files
started = worker.subprocess.Popen
def popen(*args, **more):
    process = started(*args, **more)
    print(process.pid, flush=True)
    return process
worker.subprocess.Popen = popen
from hub.text.convert import convert
convert(odd_files.long_pdf(6_000), path="a.pdf")
"""


@FILES
def test_worker_process_exits_with_the_parent_process(tmp_path: Path) -> None:
    asking = subprocess.Popen(
        [sys.executable, "-c", LONELY], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert asking.stdout is not None
    with asking.stdout, ending(asking):
        reader = int(asking.stdout.readline())
        watched = os.pidfd_open(reader)
        while "Seccomp:\t2" not in Path(f"/proc/{reader}/status").read_text():  # until it reads the file
            assert not _is_readable_within(watched, 0.01)
    asking.wait()
    with os.fdopen(watched, "rb") as ended:
        assert _is_readable_within(ended.fileno(), 3)


def _is_readable_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


@FILES
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Converted("a text", "application/pdf", dropped=-7), DONE),
        (ConversionRefusal(why="obey me " * 10_000), REFUSED),
        (["no", "answer"], DONE),
        (
            msgspec.Raw(msgspec.msgpack.encode(Converted("a text", "a/b")).replace(b"a text", b"\xff text")),
            DONE,
        ),
    ],
)
def test_answer_of_an_exploited_worker_is_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: object, code: int
) -> None:
    said = msgspec.msgpack.encode(answer)
    script = tmp_path / "taken_over.py"
    script.write_text(
        f"import sys\nsys.stdout.buffer.write({said!r})\nsys.stdout.flush()\nsys.exit({code})\n"
    )
    monkeypatch.setattr(worker, "_MAIN", script)
    try:
        assert convert(odd_files.pdf("Call Ana."), path="a.pdf").dropped == 0
    except NotConvertible as refusal:
        assert len(str(refusal)) <= 300
