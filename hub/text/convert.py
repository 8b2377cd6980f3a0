"""Conversion of files to text: selects the converter and the process.

Extracted text is what travels and what offsets refer to, so the content of a text file is not normalized.
Plain text and small pages or mails are read in this process. Everything else (office, pdf, large files) is
read by ``worker``, in a process that may crash.
"""

import contextlib
import io
from tempfile import TemporaryFile
from typing import IO, Final

from hub.text import office
from hub.text.files import HTML, MAIL, OFFICE, PDF, Converted, ConvertLimits, NotConvertible, media_type_of
from hub.text.reading import Attachments, read
from hub.text.worker import Check, read_apart

# Of a page or mail that is read in this process. The worst constructed file of this size takes 0.2 s.
_SMALL_BYTES: Final = 32 * 1024


def convert(
    data: bytes,
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """Convert the bytes of a file to text; see ``convert_file``."""
    return convert_file(io.BytesIO(data), path=path, media_type=media_type, limits=limits, check=check)


def convert_file(
    file: IO[bytes],
    *,
    path: str,
    media_type: str | None = None,
    limits: ConvertLimits | None = None,
    check: Check = lambda: None,
) -> Converted:
    """Convert a file to text. Blocks.

    Args:
        file: complete content; its position does not matter.
        path: its extension determines the type if *media_type* does not.
        check: called regularly; an exception it raises ends the work and is passed on.

    Raises:
        NotConvertible: binary, damaged or too large, or a type that needs the extra ``[files]``.
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
    """Unpack the pdf library while its folder is writable; no effect without the extra ``[files]``."""
    if office.is_installed():
        with contextlib.suppress(NotConvertible):
            convert(office.LEAST_PDF, path="", media_type=PDF)


def _apart(file: IO[bytes], kind: str, limits: ConvertLimits, check: Check) -> Converted:
    if not isinstance(file, io.BytesIO):
        return read_apart(file, kind, limits, check)
    with TemporaryFile() as copy:
        copy.write(file.getbuffer())
        return read_apart(copy, kind, limits, check)
