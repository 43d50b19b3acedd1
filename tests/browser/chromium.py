"""The browser of these tests. `python -m tests.browser.chromium` says whether there is one."""

import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

MISSING = (
    "THE BROWSER TESTS WERE LEFT OUT: there is no Chromium on this machine. "
    "Install it (Debian: apt-get install chromium) and run `make test-browser`."
)


def find_chromium() -> str | None:
    """Return the path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__":
    if find_chromium() is None:
        sys.exit(MISSING)
