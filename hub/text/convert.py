"""Files to text: which way a file takes.

The text that comes out is the one that travels and that offsets count in, so nothing
of a text file is tidied. Text is read here; a page or a mail too while it is small. All else
(office, pdf, what is large) is read by ``worker``, in a process that may fall over.
"""

import contextlib
import io
from tempfile import TemporaryFile
from typing import IO, Final

from hub.text import office
from hub.text.converted import Converted, ConvertLimits, NotConvertible
from hub.text.kinds import HTML, MAIL, OFFICE, PDF, media_type_of
from hub.text.reading import Attachments, read
from hub.text.worker import Check, read_apart

# Of a page or a mail that is read here. The worst that was built in so many bytes takes 0.2 s.
_SMALL_BYTES: Final = 32 * 1024


def convert(
    data: bytes,
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """The text of a file; ``convert_file`` says the rest."""
    return convert_file(io.BytesIO(data), path=path, media_type=media_type, limits=limits, check=check)


def convert_file(
    file: IO[bytes],
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """The text of a file. Blocks.

    Args:
        file: all of it, wherever it stands.
        path: its name tells the kind where *media_type* does not.
        check: called now and then; what it raises ends the work and is raised here.

    Raises:
        NotConvertible: binary, damaged, too large, or a kind that needs the extra ``[files]``.
    """
    limits = limits or ConvertLimits()
    size = file.seek(0, io.SEEK_END)
    if size > limits.bytes:
        raise NotConvertible(f"larger than {limits.bytes} bytes")
    kind = media_type_of(path, media_type)
    if kind in OFFICE and not office.is_installed():
        office.require()
    if kind in OFFICE or (kind in (HTML, MAIL) and size > _SMALL_BYTES):
        return _apart(file, kind, limits, check)
    file.seek(0)
    data = file.read()
    if kind != MAIL:
        return read(data, kind, max_bytes=limits.bytes)

    attachments = Attachments(limits.bytes)

    def attached(part: bytes, part_kind: str) -> Converted:
        if part_kind in OFFICE:
            return attachments.take(convert(part, path="", media_type=part_kind, limits=limits, check=check))
        return attachments.read(part, part_kind)

    return read(data, kind, max_bytes=limits.bytes, attached=attached)


def prepare() -> None:
    """Unpack what reading a pdf needs, while it can be written; nothing without the extra ``[files]``."""
    if office.is_installed():
        with contextlib.suppress(NotConvertible):
            convert(office.LEAST_PDF, path="", media_type=PDF)


def _apart(file: IO[bytes], kind: str, limits: ConvertLimits, check: Check) -> Converted:
    if not isinstance(file, io.BytesIO):
        return read_apart(file, kind, limits, check)
    with TemporaryFile() as copy:
        copy.write(file.getbuffer())
        return read_apart(copy, kind, limits, check)
