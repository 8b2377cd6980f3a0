"""TLS certificates of the listeners: reloaded when their files or the settings change."""

import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hub.base.certificates import Certificates, CertificateUnusable, KeyPair, load_pair
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.toml.listeners import Listen, TlsSettings
from hub.health.access_checks import Certificate
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings

log = Channel(__name__)


_Mark = tuple[int, int, int] | None


_Marks = tuple[_Mark, _Mark]


class Tls:
    """Certificates in use, by the listener's name in ``[listen]``.

    Raises:
        CertificateUnusable: a configured certificate or key is invalid.
    """

    def __init__(self, listen: Listen, metrics: Metrics) -> None:
        self._expiry = metrics.certificate_expiry
        self._listen = listen
        self._in_use: dict[str, Certificates] = {}
        self._seen: dict[str, _Marks] = {}  # of the files, at the last call of ``renew``
        self._read: dict[str, _Marks] = {}  # of those that it has loaded
        for name, tls in _configured(listen):
            self._in_use[name] = Certificates(tls.certificate, tls.key)
            self._log_expiry(name)

    def context(self, name: str) -> ssl.SSLContext | None:
        """Return the TLS context of the listener *name*, or None if it serves without TLS."""
        certificates = self._in_use.get(name)
        return None if certificates is None else certificates.context

    def prepare(self, settings: Settings) -> Commit:
        """Load all certificate files, even if their paths are unchanged.

        Raises:
            Unfit: the files cannot be used; the certificates in use are kept.
        """
        pairs: dict[str, KeyPair] = {}
        for name, tls in _configured(settings.listen):
            try:
                pairs[name] = load_pair(tls.certificate, tls.key)
            except CertificateUnusable as error:
                fix = "put a certificate and its key there"
                raise Unfit(("listen", name, "tls"), str(error), fix) from error
        return partial(self._use, settings.listen, pairs)

    def renewed(self, settings: Settings) -> list[str]:
        """Return the keys of listeners whose files contain another certificate than the one in use.

        Raises:
            CertificateUnusable: the files changed since they were prepared, and are invalid.
        """
        return [
            f"listen.{name}.tls"
            for name, tls in _configured(settings.listen)
            if name in self._in_use
            and load_pair(tls.certificate, tls.key).digest != self._in_use[name].pair.digest
        ]

    def renew(self) -> None:
        """Use certificates whose files changed, and did not change between the last call and this one."""
        for name, tls in _configured(self._listen):
            certificates, marks = self._in_use.get(name), (_mark(tls.certificate), _mark(tls.key))
            was_seen, self._seen[name] = self._seen.get(name) == marks, marks
            if certificates is None or not was_seen or self._read.get(name) == marks:
                continue
            self._read[name] = marks
            try:
                pair = load_pair(tls.certificate, tls.key)
            except CertificateUnusable as error:  # an issue says so while it is the case
                log.error("certificate.refused", listener=name, why=str(error))
                continue
            if pair.digest != certificates.pair.digest:
                certificates.use(pair)
                self._log_expiry(name)
                log.info("certificate.renewed", listener=name, expires_at=f"{pair.expires_at:%Y-%m-%d}")

    def in_use(self) -> Iterator[Certificate]:
        """Yield each certificate with its listener, and why its files were refused, for the issue checks."""
        files = dict(_configured(self._listen))
        for name, certificates in self._in_use.items():
            refused = _why_refused(files[name]) if name in files else ""
            yield Certificate(name, certificates.pair.expires_at, refused)

    def _use(self, listen: Listen, pairs: dict[str, KeyPair]) -> None:
        self._listen = listen
        for name in self._in_use.keys() & pairs.keys():  # other changes of TLS wait for a restart
            self._in_use[name].use(pairs[name])
            self._log_expiry(name)

    def _log_expiry(self, name: str) -> None:
        self._expiry.labels(name).set(self._in_use[name].pair.expires_at.timestamp())


def _mark(file: Path) -> _Mark:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _why_refused(tls: TlsSettings) -> str:
    try:
        load_pair(tls.certificate, tls.key)
    except CertificateUnusable as error:
        return str(error)
    return ""


def _configured(listen: Listen) -> Iterator[tuple[str, TlsSettings]]:
    for name, listener in listen.named():
        if listener.tls is not None:
            yield name, listener.tls
