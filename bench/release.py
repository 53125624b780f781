# SPDX-License-Identifier: GPL-3.0-or-later
"""The release program against its tools, and four Pythons against one; on this machine, no lab.

Usage: python -m bench.release [--runs N]

The first mark: one release of a C extension for two Pythons (sdist, wheels, repair, check, test,
upload, wait, installation from the index), from the start of the program to its end, beside the
sum of the times that the programs took which it has called: what is left is its own.

The second one: wheel and test of each Python as the component's jobs do them, two jobs at once, for
four Pythons and for one. The index is pypiserver; build dependencies come from uv's cache, which
a release that is not measured has filled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.marks import FOUR_PYTHONS, RELEASE, Figure, table
from lab.environments import environment, pythons
from lab.places import CHECKOUT, cache_dir
from lab.progress import step
from lab.run import LabError

LOCK = CHECKOUT / "requirements-release-test.txt"
PROGRAM = CHECKOUT / "release" / "release.py"
PROJECT = CHECKOUT / "lab" / "projects" / "demo"
JOBS_AT_ONCE = 2
TIMEOUT = 900
TOKEN = "no-secret-of-the-bench"
# Runs the program, and adds up how long its children lived; it has one at a time.
_DRIVER = """
import json, runpy, subprocess, sys, time
spent = 0.0

class Timed(subprocess.Popen):
    def __init__(self, *given, **more):
        self.began, self.counted = time.monotonic(), False
        super().__init__(*given, **more)

    def wait(self, *given, **more):
        global spent
        code = super().wait(*given, **more)
        if not self.counted:
            self.counted = True
            spent += time.monotonic() - self.began
        return code

subprocess.Popen = Timed
path, program, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]
try:
    runpy.run_path(program, run_name="__main__")
finally:
    open(path, "w").write(json.dumps(spent))
"""


class Bench:
    """A copy of the lab's project, and all that a release of it needs.

    Args:
        folder: for everything that is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = environment("release-tools", sys.executable, LOCK)
        (folder / "pythons").mkdir()
        self.pythons = list(pythons(folder / "pythons"))
        places = [str(self.tools), str(folder / "pythons"), "/usr/local/bin:/usr/bin:/bin"]
        self.environment = {
            "PATH": os.pathsep.join(places),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": str(cache_dir() / "uv"),
            "TWINE_PASSWORD": TOKEN,
            # How the clients of this machine reach their index.
            **{name: os.environ[name] for name in _NETWORK if name in os.environ},
        }

    def project(self) -> Path:
        """A fresh copy of the project."""
        place = Path(tempfile.mkdtemp(dir=self.folder, prefix="project-"))
        shutil.copytree(PROJECT, place, dirs_exist_ok=True)
        return place

    def call(self, project: Path, *words: str) -> tuple[float, float]:
        """Seconds of the program, and of what it has called."""
        spent = project / "spent.json"
        argv = [sys.executable, "-c", _DRIVER, str(spent), str(PROGRAM), *words]
        start = time.monotonic()
        done = subprocess.run(
            argv, cwd=project, env=self.environment, stdin=subprocess.DEVNULL, check=False,
            capture_output=True, text=True, timeout=TIMEOUT,
        )  # fmt: skip
        seconds = time.monotonic() - start
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise LabError(f"release.py {' '.join(words)}: exit {done.returncode}\n{tail}")
        return seconds, float(json.loads(spent.read_text()))

    def release(self, versions: Sequence[str]) -> tuple[float, float]:
        """A whole release, to an index of its own."""
        project = self.project()
        with self.index() as url:
            return self.call(
                project, "--python", " ".join(versions), "--index", "bench", "--settings", "-",
                "--upload-url", url, "--simple-url", f"{url}simple/",
                "build", "repair", "check", "test", "publish", "wait", "verify",
            )  # fmt: skip

    @contextlib.contextmanager
    def index(self) -> Iterator[str]:
        """The address of pypiserver, which takes every upload."""
        packages = Path(tempfile.mkdtemp(dir=self.folder, prefix="index-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        argv = [str(self.tools / "pypi-server"), "run", "-p", str(port), "-i", "127.0.0.1",
                "-P", ".", "-a", ".", "--disable-fallback", str(packages)]  # fmt: skip
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            child.terminate()
            child.wait()

    def matrix(self, versions: Sequence[str]) -> float:
        """Seconds of the jobs of these Pythons after the sdist: wheels, one check, tests."""
        whole = self.project()
        self.call(whole, "--settings", "-", "--only", "sdist", "build")
        # What the runner would copy as artifacts is there before, or linked: no time of a tool.
        projects = {version: self.project() for version in versions}
        for project in projects.values():
            shutil.copytree(whole / "dist", project / "dist")

        def wheel(version: str) -> None:
            words = ("--settings", "-", "--python", version, "--only", "wheels")
            self.call(projects[version], *words, "build", "repair")

        def test(version: str) -> None:
            shutil.rmtree(projects[version] / "dist")
            (projects[version] / "dist").symlink_to(whole / "dist")
            self.call(projects[version], "--settings", "-", "--python", version, "test")

        start = time.monotonic()
        with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
            for job in (wheel, test):
                for future in [pool.submit(job, version) for version in versions]:
                    future.result()
                if job is wheel:
                    for project in projects.values():
                        for path in (project / "dist").glob("*.whl"):
                            shutil.copy2(path, whole / "dist")
                    self.call(whole, "--settings", "-", "--python", " ".join(versions), "check")
        return time.monotonic() - start


_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "UV_DEFAULT_INDEX",
            "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_CONFIG_FILE")  # fmt: skip


def one_run(bench: Bench) -> tuple[list[Figure], Mapping[str, float]]:
    """Both marks once."""
    two = [bench.pythons[0], bench.pythons[-1]]
    with step(f"a release for Python {' and '.join(two)}"):
        seconds, tools = bench.release(two)
    four = bench.pythons[-4:]
    with step(f"wheels and tests of Python {four[-1]} alone"):
        alone = bench.matrix(four[-1:])
    with step(f"wheels and tests of Python {', '.join(four)}, {JOBS_AT_ONCE} jobs at once"):
        all_four = bench.matrix(four)
    figures = [Figure(RELEASE, seconds, tools), Figure(FOUR_PYTHONS, all_four, alone)]
    return figures, {"release": seconds, "tools": tools, "four": all_four, "one": alone}


def measure(count: int) -> tuple[list[list[Figure]], list[Mapping[str, float]]]:
    """All runs, and their seconds.

    Raises:
        LabError: if a release fails, or the machine has fewer than four Pythons.
    """
    with tempfile.TemporaryDirectory(prefix="runnerhost-bench-") as folder:
        bench = Bench(Path(folder))
        if len(bench.pythons) < 4:
            found = " ".join(bench.pythons) or "none"
            raise LabError(f"four versions of Python are needed, from PATH or pyenv; found {found}")
        with step("a release that is not measured: uv's cache"):
            bench.release(bench.pythons[-4:])
        runs = [one_run(bench) for _ in range(count)]
    return [figures for figures, _ in runs], [seconds for _, seconds in runs]


def main() -> int:
    """Measures, and shows the table; 1 if a mark is missed in any run."""
    parser = argparse.ArgumentParser(prog="python -m bench.release")
    parser.add_argument("--runs", type=int, default=1, help="how often to measure each mark")
    try:
        runs, _ = measure(parser.parse_args().runs)
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(runs)}")
    return 0 if all(figure.met for run in runs for figure in run) else 1


if __name__ == "__main__":
    raise SystemExit(main())
