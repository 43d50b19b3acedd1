"""`settings`: prints every setting."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator

from pydantic_core import PydanticUndefined

from app.commands.command import DONE, Command
from app.commands.output import say
from app.settings import ENV_PREFIX, Settings

MIN_TEXT_WIDTH = 30


def _run(_: argparse.Namespace) -> int:
    say(settings_table(shutil.get_terminal_size().columns))
    return DONE


def settings_table(width: int) -> str:
    """Name, default and description of each setting, in lines of about this many characters."""
    rows = list(_rows())
    name_width = max(len(name) for name, _, _ in rows)
    default_width = max(len(default) for _, default, _ in rows)
    text_width = max(MIN_TEXT_WIDTH, width - name_width - default_width - 4)
    lines = []
    for name, default, text in (("Setting", "Default", "Meaning"), *rows):
        first, *others = textwrap.wrap(text, text_width) or [""]
        lines.append(f"{name:{name_width}}  {default:{default_width}}  {first}")
        lines += [f"{'':{name_width}}  {'':{default_width}}  {other}" for other in others]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _rows() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default is None or default is PydanticUndefined else str(default)
        yield f"{ENV_PREFIX}{name.upper()}", shown or "(unset)", field.description or ""


COMMAND = Command(
    "settings",
    "list every setting with its default",
    _run,
    description="Settings are read from the environment and from .env; the environment wins.",
)
