# SPDX-License-Identifier: GPL-3.0-or-later
"""Ubuntu's archive and the deadsnakes PPA as apt sees them: indexes without a single package.

Which version and which package is where: changelogs and ``debian/control`` of deadsnakes' packaging
repositories, read in November 2026 (`PPA`, `ppa_names`). Ubuntu's own version numbers, and what
depends on what beyond the split of ``-distutils``, are no more than likely: no test is about them.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.keys import Key, clearsign

PPA_ORIGIN = "LP-PPA-deadsnakes"
PPA_LABEL = "New Python Versions"
"""The Label in the PPA's Release files, which apt shows in a simulation; pins match the Origin."""
SYSTEM = {"jammy": "3.10", "noble": "3.12", "resolute": "3.14"}
"""Each suite's own Python: the PPA has none of that version."""

_OLD = {"3.7": "3.7.17", "3.8": "3.8.20"}
_ALL = {"3.9": "3.9.25", "3.11": "3.11.16", "3.13": "3.13.15", "3.15": "3.15.0~rc1"}
PPA: Mapping[str, Mapping[str, str]] = {
    "jammy": _OLD | _ALL | {"3.12": "3.12.13", "3.14": "3.14.7"},
    "noble": _OLD | _ALL | {"3.10": "3.10.20", "3.14": "3.14.7"},
    "resolute": _ALL | {"3.10": "3.10.20", "3.12": "3.12.13"},
}
"""Suite to minor version to upstream version."""

_UBUNTU_PYTHON = {
    "jammy": {"3.10": "3.10.12-1~22.04.11", "3.11": "3.11.0~rc1-1~22.04"},
    "noble": {"3.12": "3.12.3-1ubuntu0.8"},
    "resolute": {"3.14": "3.14.3-1ubuntu1"},
}
"""The suite's own, and the release candidate that jammy's universe has."""


@dataclass(frozen=True)
class Package:
    """One stanza of a Packages file."""

    name: str
    version: str
    depends: str = ""

    def stanza(self, architecture: str) -> str:
        """The stanza; name, version and architecture make up the name of a file that is nowhere."""
        lines = [
            f"Package: {self.name}",
            f"Version: {self.version}",
            f"Architecture: {architecture}",
            "Maintainer: Tests <tests@example.com>",
            *([f"Depends: {self.depends}"] if self.depends else []),
            f"Filename: pool/{self.name}_{self.version}_{architecture}.deb",
            "Size: 1",
            f"SHA256: {hashlib.sha256(f'{self.name} {self.version}'.encode()).hexdigest()}",
            "Description: an entry without a file",
        ]
        return "\n".join(lines) + "\n"


def minor(version: str) -> int:
    """11 of "3.11"."""
    return int(version.partition(".")[2])


def ppa_names(suite: str, version: str) -> set[str]:
    """Names of the packages that the PPA has of one version in one suite."""
    python = f"python{version}"
    names = {python, f"idle-{python}", f"lib{python}"}
    names |= {f"{python}-{part}" for part in ("venv", "dev", "dbg", "examples", "full")}
    names |= {f"lib{python}-{part}" for part in ("dev", "stdlib", "testsuite")}
    odd = (suite, version) == ("jammy", "3.11")
    if not odd:
        names |= {f"{python}-tk", f"{python}-gdbm"}
    if minor(version) <= 11:
        names |= {f"{python}-minimal", f"lib{python}-minimal"}
        names |= set() if odd else {f"{python}-distutils"}
    if minor(version) <= 12 and not odd:
        names.add(f"{python}-lib2to3")
    if minor(version) >= 13:
        names.add(f"{python}-nogil")
    return names


def family(
    version: str, full: str, names: Iterable[str], distutils: str, library: str = ""
) -> list[Package]:
    """The packages of one Python, each on the exact version of the ones below it.

    Args:
        version: the minor version.
        full: the packages' version.
        names: which packages there are.
        distutils: the package of distutils that ``-venv`` needs, or an empty text.
        library: the shared library's package where it is not libpythonX.Y (time_t in noble).
    """
    python, there = f"python{version}", set(names)
    shared = library or f"lib{python}"
    minimal = [f"{python}-minimal"] if f"{python}-minimal" in there else []
    needs = {
        python: [f"lib{python}-stdlib", *minimal],
        f"{python}-minimal": [f"lib{python}-minimal"],
        f"lib{python}-stdlib": [f"lib{python}-minimal"] if minimal else [],
        shared: [f"lib{python}-stdlib"],
        f"lib{python}-dev": [shared, f"lib{python}-stdlib"],
        f"{python}-dev": [python, f"lib{python}-dev", shared],
        f"{python}-venv": [python],
        f"{python}-distutils": [python, f"{python}-lib2to3"],
        f"{python}-full": [python, f"{python}-venv", f"idle-{python}"],
        f"idle-{python}": [python],
        f"{python}-nogil": [],
    }
    # Debian's own rule for these: the version that they were built for, no other.
    loose = {f"{python}-venv": [distutils] if distutils else []}
    loose[f"lib{python}-stdlib"] = ["libc6", "libssl3", "media-types"]
    made = []
    for name in sorted(there):
        exact = [f"{one} (= {full})" for one in needs.get(name, [python])]
        made.append(Package(name, full, ", ".join([*exact, *loose.get(name, [])])))
    return made


def ppa(suite: str) -> list[Package]:
    """Everything that the PPA has for a suite."""
    made = []
    for version, upstream in PPA[suite].items():
        odd = (suite, version) == ("jammy", "3.11")
        distutils = "python3-distutils" if odd else f"python{version}-distutils"
        made += family(
            version,
            f"{upstream}-1+{suite}1",
            ppa_names(suite, version),
            distutils if minor(version) <= 11 else "",
        )
    return made


def ubuntu(suite: str) -> list[Package]:
    """What of Ubuntu's own archive a Python is near to."""
    own = SYSTEM[suite]
    made = [
        Package("libc6", "2.39-0ubuntu8"),
        Package("libssl3", "3.0.13-0ubuntu3"),
        Package("media-types", "10.1.0"),
        Package("python3", f"{own}.1-1", f"python{own} (>= {own}.1-1~)"),
        Package("python3-venv", f"{own}.1-1", f"python3, python{own}-venv"),
    ]
    if suite == "jammy":
        made.append(Package("python3-distutils", "3.10.8-1~22.04", "python3, python3-lib2to3"))
        made.append(Package("python3-lib2to3", "3.10.8-1~22.04", "python3"))
    for version, full in _UBUNTU_PYTHON[suite].items():
        python = f"python{version}"
        library = f"lib{python}t64" if (suite, version) == ("noble", "3.12") else f"lib{python}"
        names = {python, library, f"idle-{python}"}
        names |= {f"{python}-{part}" for part in ("minimal", "venv", "dev", "full", "examples")}
        names |= {f"lib{python}-{part}" for part in ("minimal", "stdlib", "dev", "testsuite")}
        distutils = "python3-distutils" if suite == "jammy" else ""
        made += family(version, full, names, distutils, library)
    return made


@functools.cache
def architecture() -> str:
    """The architecture that apt here asks for."""
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.strip()


def publish(root: Path, suite: str, origin: str, packages: Iterable[Package], key: Key) -> None:
    """One signed suite of the repository in ``root``, with one component."""
    arch = architecture()
    text = "\n".join(package.stanza(arch) for package in packages)
    publish_index(root, suite, origin, text, key)


def publish_index(root: Path, suite: str, origin: str, text: str, key: Key) -> None:
    """The same, with the index as it is given."""
    arch = architecture()
    dist = root / "dists" / suite
    index = dist / "main" / f"binary-{arch}" / "Packages"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (dist / "Release").write_text(
        f"Origin: {origin}\nLabel: {PPA_LABEL if origin == PPA_ORIGIN else origin}\n"
        f"Suite: {suite}\nCodename: {suite}\n"
        f"Architectures: {arch}\nComponents: main\n"
        f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} UTC\n"
        f"SHA256:\n {digest} {len(text.encode())} main/binary-{arch}/Packages\n"
    )
    (dist / "InRelease").unlink(missing_ok=True)
    clearsign(key, dist / "Release", dist / "InRelease")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: pytest has its own output."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on the loopback, as apt on a host would read it."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


_CONFIG = """\
Dir::Etc::main "{root}/none.conf";
Dir::Etc::parts "{root}/conf.d";
Dir::Etc::sourcelist "{root}/none.list";
Dir::Etc::sourceparts "{root}/sources.list.d";
Dir::Etc::preferences "{root}/none.pref";
Dir::Etc::preferencesparts "{root}/preferences.d";
Dir::State "{root}/state";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::State::extended_states "{root}/extended_states";
Dir::Cache "{root}/cache";
Acquire::Languages "none";
APT::Update::Error-Mode "any";
"""

_LINE = re.compile(
    r"^(?P<what>Inst|Remv) (?P<name>\S+)(?: \[(?P<old>[^]]*)\])?"
    r"(?: \((?P<new>\S+) (?P<label>[^:)]*):)?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Step:
    """One line of what apt would do."""

    what: str
    """``Inst`` or ``Remv``."""
    name: str
    old: str
    """The version that is installed now, or an empty text."""
    new: str
    label: str
    """Of the source that it comes from."""


class AptHost:
    """A host's apt in a folder: its sources, pins, lists and dpkg's record.

    apt reads ``APT_CONFIG`` before everything else (apt.conf(5)): what is set there is the host,
    and the ``-c`` of the module under test comes on top of it, as on a real host.
    """

    def __init__(self, root: Path, installed: Iterable[Package]) -> None:
        self.root = root
        # apt downloads as the user _apt, which must be able to get in.
        root.chmod(0o755)
        for name in ("conf.d", "sources.list.d", "preferences.d", "lists/partial", "state"):
            (root / name).mkdir(parents=True)
        (root / "cache/archives/partial").mkdir(parents=True)
        for name in ("none.conf", "none.list", "none.pref", "extended_states"):
            (root / name).touch()
        self._read: set[str] = set()
        self.status = root / "status"
        self.installed = list(installed)
        self.reset()
        self.config = root / "host.conf"
        self.config.write_text(_CONFIG.format(root=root))

    def reset(self, *more: Package) -> None:
        """dpkg's record and the pins as at first; with these packages installed too."""
        self.pin("")
        self.status_of(*self.installed, *more)

    def status_of(self, *packages: Package) -> None:
        """dpkg's record: these packages and no others."""
        arch = architecture()
        self.status.write_text(
            "\n".join(
                package.stanza(arch).replace(
                    "\nVersion:", "\nStatus: install ok installed\nVersion:"
                )
                for package in packages
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which apt is this host's apt, and asks no proxy."""
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return {**kept, "APT_CONFIG": str(self.config), "LC_ALL": "C.UTF-8"}

    def run(self, *command: str) -> str:
        """One command of apt; raises with its words where it fails."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def source(self, name: str, text: str) -> None:
        """One more source, read at once; one that was read before is there already."""
        (self.root / "sources.list.d" / name).write_text(text)
        if text not in self._read:
            self.run("apt-get", "-q", "update")
            self._read.add(text)

    def pin(self, text: str) -> None:
        """The host's one file of pins; an empty text removes it."""
        path = self.root / "preferences.d" / "pin"
        if text:
            path.write_text(text)
        else:
            path.unlink(missing_ok=True)

    def simulate(self, *arguments: str) -> list[Step]:
        """What ``apt-get`` would do."""
        output = self.run("apt-get", "-s", "-q", "--no-install-recommends", *arguments)
        return [
            Step(m["what"], m["name"], m["old"] or "", m["new"] or "", m["label"] or "")
            for m in _LINE.finditer(output)
        ]

    def candidates(self, *names: str) -> dict[str, str]:
        """Each package's candidate, as ``apt-cache policy`` says; ``(none)`` is left out."""
        found = {}
        for block in re.split(r"(?m)^(?=\S)", self.run("apt-cache", "policy", *names)):
            name = block.partition(":")[0]
            match = re.search(r"Candidate: (\S+)", block)
            if match and match.group(1) != "(none)":
                found[name] = match.group(1)
        return found
