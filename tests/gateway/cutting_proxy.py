"""A TCP proxy that loses what a network loses: it tells neither side when the other one goes away."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """Leads its first connection to the first address, and so on; the last serves all that follow.

    `cut` connections, counted from the first, are closed towards the client in place of the first byte of an answer.
    """

    def __init__(self, *urls: str, cut: int = 0) -> None:
        self._addresses = [url.removeprefix("http://").split(":") for url in urls]
        self._cut = cut
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                host, port = self._addresses[min(self.connections, len(self._addresses) - 1)]
                server = socket.create_connection((host, int(port)))
                self._open += [client, server]
                cut = self.connections < self._cut
                threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, cut), daemon=True).start()
                self.connections += 1

    def _copy(self, source: socket.socket, target: socket.socket, cut: bool) -> None:
        with suppress(OSError):
            while part := source.recv(65_536):
                if cut:
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(part)


@contextmanager
def cutting(*urls: str, cut: int = 0) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(*urls, cut=cut)
    try:
        yield proxy
    finally:
        proxy.close()
