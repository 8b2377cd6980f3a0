"""Web pages of the dashboard: which files of the built bundle are served, and their security headers.

A request never names a file of the disk. Its path is looked up among the files that the bundle's
``manifest.json`` lists, which are read once.
"""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import msgspec
from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response

_API: Final = Path(__file__).parents[2] / "api"  # which has the sources of the bundle
BUNDLE: Final = _API / "web" / "dist"
COMMANDS: Final = _API / "commands.json"  # with a sentence about each, for the palette
INDEX: Final = "index.html"
ASSETS: Final = "assets/"  # folder of files with a hash in their names, which never change
# First parts of paths that are no pages: those of the interface, and of the bundle's files.
NO_PAGES: Final = frozenset(
    ("v1", "docs", "mcp", "token", "revoke", ".well-known", "metrics", "healthz", "readyz", ASSETS[:-1])
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
        " manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED: Final = frozenset((".ico", ".png", ".woff2"))  # compressed already


class BundleManifest(msgspec.Struct):
    """List of the files of a bundle, by their names; what it says of each is for its build."""

    files: dict[str, msgspec.Raw]


class BundleFile(NamedTuple):
    """A file of the bundle. *packed*: the same, compressed; None: it is compressed already."""

    headers: dict[str, str]
    plain: bytes
    packed: bytes | None


class Pages:
    """The bundle in a folder; it is read at the first request."""

    def __init__(self, folder: Path = BUNDLE) -> None:
        self._folder = folder

    @cached_property
    def files(self) -> Mapping[str, BundleFile]:
        """Return the files of the bundle by their paths."""
        manifest = msgspec.json.decode((self._folder / "manifest.json").read_bytes(), type=BundleManifest)
        files = {f"/{name}": _read(self._folder, name) for name in manifest.files}
        return files | {f"/{COMMANDS.name}": _read(COMMANDS.parent, COMMANDS.name)}

    async def find(self, method: str, path: str, asked: Headers) -> Response | None:
        """Return the response to a request for a page or a file of the bundle; None: it asks for neither."""
        if method not in ("GET", "HEAD"):
            return None
        if "files" not in vars(self):
            await to_thread.run_sync(getattr, self, "files")  # compressing takes a while
        file = self.files.get(path)
        if file is None and is_page(path) and "text/html" in asked.get("accept", ""):
            file = self.files[f"/{INDEX}"]
        return None if file is None else _response(file, asked)


@cache
def asset(ending: str) -> str:
    """Return the path of the bundle's file with this ending: its style sheet, or its icon."""
    manifest = msgspec.json.decode((BUNDLE / "manifest.json").read_bytes(), type=BundleManifest)
    return next(f"/{name}" for name in manifest.files if name.endswith(ending))


def is_page(path: str) -> bool:
    """Return whether the path is one of a page, each of which the one document shows."""
    return path.removeprefix("/").partition("/")[0] not in NO_PAGES


def _read(folder: Path, name: str) -> BundleFile:
    plain = (folder / name).read_bytes()
    ending = PurePosixPath(name).suffix
    tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
    is_unchanging = name.startswith(ASSETS)
    caching = "public, max-age=31536000, immutable" if is_unchanging else "no-cache"
    packed = None if ending in _PACKED else gzip.compress(plain, mtime=0)
    headers = {**HEADERS, "content-type": _TYPES[ending], "cache-control": caching, "etag": tag}
    return BundleFile(headers | {"vary": "accept-encoding"}, plain, packed)


def _response(file: BundleFile, asked: Headers) -> Response:
    if file.headers["etag"] in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=file.headers)
    if file.packed is None or "gzip" not in asked.get("accept-encoding", ""):
        return Response(file.plain, headers=file.headers)
    return Response(file.packed, headers=file.headers | {"content-encoding": "gzip"})
