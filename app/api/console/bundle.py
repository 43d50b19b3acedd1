"""Joins the console's modules into one script, and its style sheets into one.

The sources are plain modules, which a browser could load one by one; a first view would then wait
for some fifty answers. Here each module becomes a function that runs when it is first needed, so a
view that nobody opens costs its bytes alone. Nothing is built in advance.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import NamedTuple

START = "js/main.js"

_IMPORT = re.compile(r'^import (?:(\w+)|(\{[^}]*\})) from "([^"]+)";$', re.MULTILINE)
_LAZY = re.compile(r'\bimport\("([^"]+)"\)')
_EXPORT = re.compile(r"^export ((?:async function|function|class|const) (\w+))", re.MULTILINE)
_LIST = re.compile(r"export ?\{([^}]*)\};?\s*\Z")
_OTHER = re.compile(r"^export\b.*|^import\b.*['\"].*|\bimport\.meta\b", re.MULTILINE)

_LOADER = """\
const known = new Map();
function need(name) {
  if (!known.has(name)) known.set(name, modules[name]());
  return known.get(name);
}
"""


class _Module(NamedTuple):
    """The body of a module's function, and the modules that it needs: at once, and later."""

    body: str
    needs: Sequence[str]
    needs_later: Sequence[str]


def script(folder: Path, start: str = START) -> str:
    """Return one module that does what `start` and all that it imports do.

    Raise ValueError for a module that imports or exports in a way that is not known here, or that
    needs itself.
    """
    bodies: dict[str, str] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"{name} needs itself: {' > '.join((*above, name))}")
        if name in bodies:
            return
        module = _read(folder, name)
        bodies[name] = module.body
        for other in module.needs:
            add(other, (*above, name))
        for other in module.needs_later:
            add(other, ())

    add(start, ())
    modules = "\n".join(f'"{name}": () => {{\n{body}\n}},' for name, body in bodies.items())
    return f'{_LOADER}const modules = {{\n{modules}\n}};\nneed("{start}");\n'


def sheet(folder: Path, names: Sequence[str]) -> str:
    """Return these style sheets as one, in this order."""
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _read(folder: Path, name: str) -> _Module:
    source = (folder / name).read_text(encoding="utf-8")

    def path_of(relative: str) -> str:
        return normpath(join(dirname(name), relative))

    def needed(found: re.Match[str]) -> str:
        default, names, relative = found.groups()
        taken = f"{{ default: {default} }}" if default else names.replace(" as ", ": ")
        return f'const {taken} = need("{path_of(relative)}");'

    def needed_later(found: re.Match[str]) -> str:
        return f'Promise.resolve().then(() => need("{path_of(found[1])}"))'

    given = [found[2] for found in _EXPORT.finditer(source)]
    body = _LAZY.sub(needed_later, _IMPORT.sub(needed, _EXPORT.sub(r"\1", source)))
    listed = _LIST.search(body)
    if listed is not None:
        body = body[: listed.start()]
        pairs = [pair.strip().partition(" as ") for pair in listed[1].split(",")]
        given += [f"{other or own}: {own}" for own, _, other in pairs]
    unknown = _OTHER.search(body)
    if unknown is not None:
        raise ValueError(f"{name} cannot be joined with others: {unknown[0]}")
    return _Module(
        f"{body}\nreturn {{ {', '.join(given)} }};",
        [path_of(found[3]) for found in _IMPORT.finditer(source)],
        [path_of(found[1]) for found in _LAZY.finditer(source)],
    )
