"""Prices become the states that the Python client makes of them, byte by byte."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from coinswarm_memory.market import BarsWarning, StateEncoder
from tests.browser.conftest import OpenPage
from tests.browser.seed import agent_of

BARS = 160
COLUMNS = (
    ["close"],
    ["high", "low", "close"],
    ["high", "low", "close", "volume"],
    ["close", "volume", "adj close"],
)

ENCODE = """async (text) => {
  const { readBars } = await import("/console/js/encoder/bars.js");
  const { encode } = await import("/console/js/encoder/encoder.js");
  const reference = await (await fetch("/console/js/encoder/reference.json")).json();
  const found = encode(readBars(text)[0], reference);
  return { states: found.states.map((state) => Array.from(state)), times: found.times };
}"""


def bars(columns: list[str], *, is_whole: bool = True) -> str:
    """A product's days as CSV."""
    random = np.random.default_rng(3)
    moves = random.normal(0, 0.01, (BARS, 8)).cumsum().reshape(BARS, 8)
    prices = 100 * np.exp(moves)
    table = {
        "Date": pd.date_range("2020-01-01", periods=BARS).strftime("%Y-%m-%d"),
        "high": prices.max(axis=1),
        "low": prices.min(axis=1),
        "close": prices[:, -1],
        "volume": np.exp(random.normal(8, 0.5, BARS)).round(),
        "adj close": prices[:, -1] * np.linspace(0.9, 1, BARS),
    }
    frame = pd.DataFrame(table)[["Date", *columns]]
    if not is_whole:
        frame.loc[80, "close"] = np.nan
    return str(frame.to_csv(index=False))


def encoded(text: str) -> Any:
    """What the Python client makes of the same file."""
    frame = pd.read_csv(io.StringIO(text))
    return StateEncoder().fit_transform(frame)


@pytest.mark.parametrize("columns", COLUMNS)
def test_states_are_those_of_the_python_client(open_page: OpenPage, columns: list[str]) -> None:
    text = bars(columns)
    expected = encoded(text)
    found = open_page("#/health").evaluate(ENCODE, text)
    assert found["times"] == expected.timestamps.tolist()
    states = np.array(found["states"], np.float32)
    assert len(states) == BARS - 64
    assert states.tobytes() == expected.states.tobytes()


def test_a_csv_of_prices_is_asked_about(open_page: OpenPage, tmp_path: Path) -> None:
    text = bars(["high", "low", "close"], is_whole=False)
    file = tmp_path / "prices.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.warns(BarsWarning):
        expected = encoded(text)
    page = open_page(f"#/ask?agent={agent_of('KO')}")
    page.get_by_role("button", name="Prices", exact=True).click()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("1 bars without a price: no state is made of them.")).to_be_visible()
    page.get_by_role("button", name="Ask about this state").click()
    expect(page.get_by_role("region", name="As of")).to_be_visible()
    sent = page.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('v')")
    assert base64.urlsafe_b64decode(sent) == expected.states[-1].tobytes()


def test_a_file_that_holds_no_prices_is_refused_in_words(
    open_page: OpenPage, tmp_path: Path
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("date,open\n2020-01-01,1\n", encoding="utf-8")
    page = open_page(f"#/ask?agent={agent_of('KO')}")
    page.get_by_role("button", name="Prices", exact=True).click()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_role("alert")).to_have_text(
        "There is no column close; there are date, open."
    )
