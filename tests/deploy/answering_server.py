"""A server on loopback that gives one answer to everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from app.embedded.node import LOOPBACK, free_port


@contextmanager
def answering_server(status: int | None) -> Iterator[tuple[int, list[str]]]:
    """Yields its port and the paths it was asked for; `status` None: nothing listens there."""
    asked: list[str] = []
    if status is None:
        yield free_port(), asked
        return
    answer = status

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer((LOOPBACK, 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
