"""Write src/coinswarm_memory/problems.py: one error class for each problem code of the service.

Run in the repository: `make client-generate`. The table is app/errors.py; errors that never are an
HTTP answer (those of starting and of transfers) are left out.
"""

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

from app import errors

TARGET = Path(__file__).parent.parent / "src/coinswarm_memory/problems.py"
_NEVER_ANSWERED = (errors.StartError, errors.TransferError)
_HEAD = '''"""One error for each problem code of the service.

Generated from the service's own table by tools/generate_problems.py: change that table, not this.
"""

from typing import Final

from coinswarm_memory.errors import ServiceProblem

'''


def source() -> str:
    """Return the module's text."""
    found = [error for error in vars(errors).values() if inspect.isclass(error)]
    answered = [
        error
        for error in found
        if issubclass(error, errors.MemoryServiceError) and not issubclass(error, _NEVER_ANSWERED)
    ]
    lines = [_HEAD]
    lines += [_class(error) for error in answered]
    coded = sorted(_name(error) for error in answered if "code" in vars(error))
    lines.append("\nCLASSES: Final[dict[str, type[ServiceProblem]]] = {\n")
    lines += [f"    {name}.code: {name},\n" for name in coded]
    lines.append('}\n"""The class of each code."""\n')
    return "".join(lines)


def _class(error: type[errors.MemoryServiceError]) -> str:
    is_base = error is errors.MemoryServiceError
    name = _name(error)
    base = "ServiceProblem" if is_base else error.__bases__[0].__name__
    base = "ServiceProblem" if base == "MemoryServiceError" else base
    sentence = (
        "The service failed in a way that nobody foresaw."
        if is_base
        else " ".join((inspect.getdoc(error) or "").split())
    )
    doc = _docstring(sentence)
    code = f'\n    code = "{error.code}"\n' if "code" in vars(error) else ""
    return f"\nclass {name}({base}):\n{doc}{code}\n"


def _name(error: type[errors.MemoryServiceError]) -> str:
    return "ServiceFailed" if error is errors.MemoryServiceError else error.__name__


def _docstring(sentence: str) -> str:
    if len(sentence) < 88:
        return f'    """{sentence}"""\n'
    wrapped = "\n".join(
        textwrap.wrap(sentence, 96, initial_indent='    """', subsequent_indent="    ")
    )
    return f'{wrapped}\n    """\n'


if __name__ == "__main__":
    TARGET.write_text(source())
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(TARGET)], check=True)
