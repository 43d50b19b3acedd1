"""Which query engine the tests run on. They state what they assume of it, and run on any.

MEMORY_TEST_REDIS_SERVER and MEMORY_TEST_REDIS_SEARCH name another `redis-server` and
`redisearch.so` than the packaged ones.
"""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as NotYet
from redis.retry import Retry

from app.embedded.files import find_binaries
from app.nodes.engine_options import EngineOption, version_in

OWN_SETTINGS_SINCE = 80_000
"""From this version on `search-...` are settings of Redis; before, arguments of the module."""
TRIES = 200


@cache
def engine() -> int:
    """The version of the engine, 21005 for 2.10.5: a server is started once to ask it."""
    binaries = find_binaries()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        command = [str(binaries.server), "--port", "0", "--unixsocket", str(path), "--save", ""]
        command += ["--dir", folder, "--loadmodule", str(binaries.engine)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            retry = Retry(ConstantBackoff(0.02), TRIES, (NotYet, FileNotFoundError))
            with Redis(unix_socket_path=str(path), protocol=2, retry=retry) as client:
                return version_in(client.execute_command("HELLO"))
        finally:
            process.terminate()
            process.wait(10)


def has_own_settings() -> bool:
    """Whether the engine's settings are Redis's own."""
    return engine() >= OWN_SETTINGS_SINCE


def setting(option: EngineOption, value: str) -> tuple[str, ...]:
    """The command that sets this setting of the engine."""
    if has_own_settings():
        return ("CONFIG", "SET", option.name, value)
    return ("FT.CONFIG", "SET", str(option.module_name), value.upper())


def reading(option: EngineOption) -> tuple[str, ...]:
    """The command that reads it: its name and its value, in a flat list or as one pair."""
    if has_own_settings():
        return ("CONFIG", "GET", option.name)
    return ("FT.CONFIG", "GET", str(option.module_name))
