"""Licences of the locked packages, compared with those that suit a program under Apache-2.0."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution
from typing import Final

from license_expression import ExpressionError, LicenseExpression, get_spdx_licensing
from packaging.utils import canonicalize_name

from tests.release.locked import Locked

ALLOWED: Final = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC"}
    | {"MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib"}
)
# Packages under another licence, and why they may be used all the same.
EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "certifi": ("MPL-2.0", "used as it is: its licence binds changes of its own files alone"),
    "hypothesis": ("MPL-2.0", "for tests, and used as it is"),
    "pathspec": ("MPL-2.0", "used as it is: its licence binds changes of its own files alone"),
    "radicale": ("GPL-3.0-or-later", "a server of tests, in a process of its own; not part of a release"),
    "tqdm": ("MPL-2.0 AND MIT", "comes with the extra ocr, and used as it is"),
}
# Packages whose metadata do not say it in a way that can be read: as their licence file has it.
READ: Final[Mapping[str, str]] = {
    "google-re2": "BSD-3-Clause",
    "libpass": "BSD-3-Clause",
    "omegaconf": "BSD-3-Clause",
    "pypdfium2": "Apache-2.0 AND BSD-3-Clause",
    "segno": "BSD-3-Clause",
    "tinycss2": "BSD-3-Clause",
    "webencodings": "BSD-3-Clause",
}
# Packages that other systems or versions of Python install: as the registry has them.
ELSEWHERE: Final[Mapping[str, str]] = {
    "colorama": "BSD-3-Clause",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32": "PSF-2.0",
}
# Names that are no identifiers of SPDX.
SPELLINGS: Final[Mapping[str, str]] = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "GNU GPL v3": "GPL-3.0-or-later",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_SPDX: Final = get_spdx_licensing()


def licence_of(distribution: Distribution) -> str | None:
    """Return the licence of an installed distribution as SPDX has it; ``None`` if that cannot be read."""
    metadata = distribution.metadata
    if (read := READ.get(canonicalize_name(metadata["Name"]))) is not None:
        return read
    kinds = [
        kind.rpartition(" :: ")[2]
        for kind in metadata.get_all("Classifier", [])
        if kind.startswith("License :: ")
    ]
    for text in (metadata["License-Expression"], metadata["License"], " OR ".join(map(_spelled, kinds))):
        if text and _parsed(_spelled(text)) is not None:
            return _spelled(text)
    return None


def _spelled(text: str) -> str:
    return SPELLINGS.get(text.strip(), text.strip())


def _parsed(text: str) -> LicenseExpression | None:
    try:
        return _SPDX.parse(text, validate=True)
    except ExpressionError:
        return None


def is_allowed(licence: str) -> bool:
    """Check whether a choice that *licence* offers is made of allowed licences alone."""
    parsed = _parsed(licence)
    return parsed is not None and _is_allowed(parsed)


def _is_allowed(parsed: LicenseExpression) -> bool:
    if isinstance(parsed, _SPDX.OR):
        return any(map(_is_allowed, parsed.args))
    if isinstance(parsed, _SPDX.AND):
        return all(map(_is_allowed, parsed.args))
    return getattr(parsed, "license_symbol", parsed).key in ALLOWED  # of "X WITH exception" the X


def licences(of: Iterable[Locked], installed: Iterable[Distribution]) -> dict[str, str | None]:
    """Return the licence of each locked package by its name; ``None``: not installed, or not readable."""
    by_name: dict[str, Distribution] = {canonicalize_name(one.metadata["Name"]): one for one in installed}
    return {
        one.name: licence_of(by_name[one.name]) if one.name in by_name else ELSEWHERE.get(one.name)
        for one in of
    }


def not_allowed(found: Mapping[str, str | None]) -> Iterator[str]:
    """Yield each package whose licence is not known, or neither allowed nor an exception."""
    for name, licence in found.items():
        excepted, _ = EXCEPTIONS.get(name, (None, ""))
        if licence is None:
            yield f"{name}: its metadata name no licence that can be read; put it into READ or ELSEWHERE"
        elif not is_allowed(licence) and licence != excepted:
            yield f"{name}: {licence} is neither in ALLOWED nor an exception"
    yield from (f"{name}: an exception that nothing needs" for name in EXCEPTIONS if name not in found)
