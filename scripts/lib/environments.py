"""Python environments for measuring tools, each of the exact packages of a file in pins/."""

import sys
from pathlib import Path

from packages import HERE, Cache, digest, run, say


def environment(name):
    """Returns the Python of the environment for pins/NAME.txt, which it makes where it is not there yet.

    The files list every package that is needed, so that nothing else comes with them; packages that are listed under
    another name than the one that others ask for (dlib-bin for dlib) would otherwise be fetched twice.
    """
    pins = HERE / "pins" / f"{name}.txt"
    cache = Cache()
    with cache.locked():
        venv = cache.folder / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}-{digest(pins)[:12]}"
        python, ready = venv / "bin" / "python", venv / "ready"
        if not ready.exists():
            say(f"Preparing Python for {name} …")
            run(
                [sys.executable, "-m", "venv", "--clear", venv],
                "making a Python environment",
                "Run scripts/setup: Debian needs the package python3-venv.",
            )
            install = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--requirement",
                pins,
            ]
            run(install, f"installing the packages of {Path(*pins.parts[-4:])}", "Check the network and run it again.")
            ready.touch()
    return Path(python)
