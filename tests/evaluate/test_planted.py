"""How often the verdict is right where the truth is known. `make try-evaluate` asks 200 markets."""

from tests.evaluate.planted_agent import share_found


def test_markets_without_a_signal_are_seldom_called_helps() -> None:
    found = share_found(20, "helps", snr=0.0, products=3, days=500, dimension=32)
    assert found <= 0.08 + 0.07  # one more of 20 than 8 %


def test_a_signal_is_found() -> None:
    found = share_found(20, "helps", snr=0.4, products=4, days=900, dimension=128)
    assert found >= 0.8
