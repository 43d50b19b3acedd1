"""Install the built wheel and the sdist, each into a fresh environment, and use them.

`python clients/python/tools/try_built.py FOLDER`: it holds both. A service is started for them.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.kit.service_process import service_process

EXTRAS = "[frames,market]"


def main(folder: Path) -> None:
    """Try both distributions. Raises CalledProcessError when one of them does not work."""
    with tempfile.TemporaryDirectory() as data, service_process(data_dir=data) as service:
        for pattern in ("*.whl", "*.tar.gz"):
            (built,) = folder.glob(pattern)
            version = built.name.split("-")[1].removesuffix(".tar.gz")
            with tempfile.TemporaryDirectory() as fresh:
                venv.create(fresh, with_pip=True)
                python = f"{fresh}/bin/python"
                install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
                subprocess.run([*install, f"{built.resolve()}{EXTRAS}"], check=True)
                script = Path(__file__).parent.resolve() / "try_installed.py"
                subprocess.run([python, str(script), service.url, version], cwd=fresh, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
