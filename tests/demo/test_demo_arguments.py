from pathlib import Path

import pytest

from demo.arguments import default_url, parse_arguments


def test_the_address_is_that_of_make_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_url() == "http://127.0.0.1:8000"
    Path(".env").write_text("MEMORY_HOST=0.0.0.0\nMEMORY_PORT=8111\n")
    assert default_url() == "http://127.0.0.1:8111"
    monkeypatch.setenv("MEMORY_PORT", "8222")
    assert parse_arguments([]).url == "http://127.0.0.1:8222"
    assert parse_arguments(["--url", "http://memory"]).url == "http://memory"


@pytest.mark.parametrize(
    "wrong", [["--years", "2001"], ["--years", "2002-2001"], ["--limit", "0"], ["--batch", "-1"]]
)
def test_a_wrong_argument_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(wrong)
    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err
    assert parse_arguments(["--years", "1995-1999"]).years == (1995, 1999)
