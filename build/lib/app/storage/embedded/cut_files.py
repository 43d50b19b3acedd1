"""Tells when a node cut the end off its append-only file, because it ended within a command.

Redis does so when it loads the file after a kill (`aof-load-truncated`), and says it in its own log
alone, without how much it was. https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

import logging
import re
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.25
"""Shorter than the pause before a dead node is started again: its file is seen as it was left."""
FILES_FOLDER = "appendonlydir"

_CUT = re.compile(rb"Truncating the AOF (\S+) at offset (\d+)")


class CutFiles:
    """Looks at one node's files. Made before the node is started."""

    def __init__(self, name: str, folder: Path, log: Path) -> None:
        self._name = name
        self._folder = folder / FILES_FOLDER
        self._log = log
        self._read_up_to = log.stat().st_size if log.exists() else 0
        self._sizes = self._sizes_now()

    def look(self) -> None:
        """Warn of what was cut since the last look. Raises OSError: look again later."""
        size_bytes = self._log.stat().st_size if self._log.exists() else 0
        if size_bytes < self._read_up_to:  # rotated: a new log begins
            self._read_up_to = 0
        if size_bytes > self._read_up_to:
            with self._log.open("rb") as log:
                log.seek(self._read_up_to)
                said = log.read()
            # A line that is not yet whole is left for the next look.
            said = said[: said.rfind(b"\n") + 1]
            self._read_up_to += len(said)
            for file, offset in _CUT.findall(said):
                self._warn(file.decode(), int(offset))
        self._sizes = self._sizes_now()

    async def look_again(self) -> None:
        """Do as `look` does, as a job."""
        self.look()

    def _warn(self, file: str, offset: int) -> None:
        lost_bytes = self._sizes.get(file, offset) - offset
        logger.warning(
            "the embedded Redis cut %d bytes off the end of its append-only file: the command in "
            "them, confirmed or not, is lost here",
            lost_bytes,
            extra={"node": self._name, "file": file, "lost_bytes": lost_bytes},
        )

    def _sizes_now(self) -> dict[str, int]:
        sizes = {}
        for path in self._folder.glob("*.aof"):
            with suppress(FileNotFoundError):  # a rewrite has just ended
                sizes[path.name] = path.stat().st_size
        return sizes
