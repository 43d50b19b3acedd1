"""A server that answers every request at once with a fixed body: `python -m bench.responder`.

The same load against it shows what the load generator alone costs: no latency measured with that
generator can be below, and no rate above, what it reaches here.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httptools
import orjson
import uvloop

from bench.paths import REPOSITORY

_MEMORY = {
    "id": "1234",
    "agent_id": "single-random-0000",
    "product_id": "RND",
    "regime": "calm",
    "action": "hold",
    "reward": -0.012345,
    "timestamp": 1500000000.0,
    "outcome_at": None,
    "terminal": None,
    "metadata": {},
    "distance": 0.756839275,
}
_BODY = orjson.dumps(
    {"memories": [_MEMORY] * 10, "count": 10, "exact": True, "partial": False, "cached": False}
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class Responder(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio's callback."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Implement asyncio's callback."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Implement the parser's callback."""
        self._transport.write(_ANSWER)


@contextmanager
def running_responder() -> Iterator[tuple[str, int]]:
    """Start one in a process of its own; yield its address and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.responder"],
        cwd=Path(REPOSITORY),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def main() -> None:
    """Print the address, then serve until ended."""
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
