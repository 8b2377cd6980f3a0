"""TLS certificates of the listeners: loaded at the start, and again at every reload."""

import ssl
from collections.abc import Iterator
from functools import partial

from hub.api.door.certificates import Certificates, CertificateUnusable, Pair, load_pair
from hub.health.settings import Certificate
from hub.metrics import Metrics
from hub.settings.listen_settings import Listen, TlsSettings
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings


class Tls:
    """Certificates in use, by the listener's name in ``[listen]``.

    Raises:
        CertificateUnusable: a configured certificate or key is invalid.
    """

    def __init__(self, listen: Listen, metrics: Metrics) -> None:
        self._expiry = metrics.certificate_expiry
        self._listen = listen
        self._in_use: dict[str, Certificates] = {}
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
        pairs: dict[str, Pair] = {}
        for name, tls in _configured(settings.listen):
            try:
                pairs[name] = load_pair(tls.certificate, tls.key)
            except CertificateUnusable as error:
                fix = "put a certificate and its key in their places"
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

    def in_use(self) -> Iterator[Certificate]:
        """Yield each certificate with its listener, and why its files were refused, for the issue checks."""
        files = dict(_configured(self._listen))
        for name, certificates in self._in_use.items():
            refused = _why_refused(files[name]) if name in files else ""
            yield Certificate(name, certificates.pair.expires_at, refused)

    def _use(self, listen: Listen, pairs: dict[str, Pair]) -> None:
        self._listen = listen
        for name in self._in_use.keys() & pairs.keys():  # other changes of TLS wait for a restart
            self._in_use[name].use(pairs[name])
            self._log_expiry(name)

    def _log_expiry(self, name: str) -> None:
        self._expiry.labels(name).set(self._in_use[name].pair.expires_at.timestamp())


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
