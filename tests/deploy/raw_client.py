"""`redis-cli --raw [-h HOST] [-p PORT] COMMAND...`, for the scripts of redis/.

Imports next to nothing: the scripts call it often.
"""

import importlib.util
import sys
from pathlib import Path

REJOIN = Path(__file__).parents[2] / "app" / "embedded" / "rejoin.py"


def lines(reply: object) -> list[str]:
    """The reply as redis-cli prints it: what is nested, flat."""
    if isinstance(reply, list):
        return [line for part in reply for line in lines(part)]
    return ["" if reply is None else str(reply)]


def main() -> None:
    """Ask and print."""
    words = [word for word in sys.argv[1:] if word != "--raw"]
    options = {"-h": "127.0.0.1", "-p": "6379"}
    while words[0] in options:
        options[words[0]], words = words[1], words[2:]
    spec = importlib.util.spec_from_file_location("rejoin", REJOIN)
    assert spec is not None
    assert spec.loader is not None
    rejoin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rejoin)
    reply = rejoin.ask((options["-h"], int(options["-p"])), " ".join(words))
    sys.stdout.write("\n".join(lines(reply)) + "\n")


if __name__ == "__main__":
    main()
