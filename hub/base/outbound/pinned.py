"""HTTP transport to addresses that were checked, whatever the name of the server leads to later."""

import ssl
from collections.abc import Callable, Sequence

import httpx2

from hub.base.outbound.addresses import MAX_TRIED


class PinnedTransport(httpx2.HTTPTransport):
    """Transport to a server at the addresses that *resolve* returns once; TLS checks the server's name.

    Its client uses no proxy of the environment, which would resolve the name itself.
    """

    def __init__(self, resolve: Callable[[], Sequence[str]], tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        self._resolve = resolve
        self._addresses: Sequence[str] = ()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first address that answers. Raises also what *resolve* raises."""
        failure: httpx2.TransportError = httpx2.ConnectError("it has no address")
        try:
            self._addresses = self._addresses or self._resolve()
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        request.extensions = {**request.extensions, "sni_hostname": request.url.raw_host.decode()}
        for address in self._addresses[:MAX_TRIED]:
            request.url = request.url.copy_with(host=address)
            try:
                return super().handle_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure
