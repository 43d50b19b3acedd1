"""A service with some memories, and a page that must stay without errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser.chromium import find_chromium
from tests.browser.seed import seed
from tests.kit.service_process import ServiceProcess, service_process

ARTEFACTS = Path(__file__).parent / "artefacts"
WIDE, NARROW = (1280, 800), (390, 780)
PATIENCE_MS = 60_000
"""How long a page may take to show something, on a busy machine."""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: while it is there no other test of the process can have a loop."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # No sandbox: it needs rights that a container and its root do not have. Only this
        # service's own pages are opened.
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service without keys that holds the seed's memories."""
    with service_process(port=0, data_dir=tmp_path_factory.mktemp("data")) as running:
        with running.client() as client:
            seed(client)
        yield running


@pytest.fixture
def api(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the service."""
    with service.client() as client:
        yield client


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Open pages of the console at `url` that may neither log an error nor leave the origin."""
    wrong: list[str] = []
    origin = urlsplit(url).netloc

    def note_console(message: ConsoleMessage) -> None:
        # The browser itself logs each refused request; what the page says of it is tested.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            wrong.append(f"console: {message.text}")

    def note_request(request: Request) -> None:
        where = urlsplit(request.url)
        if where.scheme not in {"data", "blob"} and where.netloc != origin:
            wrong.append(f"left the origin: {request.url}")

    contexts = []

    def open_page(
        link: str = "", *, size: tuple[int, int] = WIDE, scheme: str = "light", **options: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", note_console)
        page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
        page.on("request", note_request)
        page.goto(f"{url}/console/{link}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def open_page(browser: Browser, service: ServiceProcess) -> Iterator[OpenPage]:
    """Open pages of the seeded service."""
    with opened(browser, service.url) as open_one:
        yield open_one


def photograph(page: Page, name: str) -> None:
    """Keep a picture of the whole page as an artefact of the run."""
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=os.fspath(ARTEFACTS / f"{name}.png"), full_page=True)
