# SPDX-License-Identifier: GPL-3.0-or-later
"""A scratch folder in which apt reads other sources than the host's own.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system

_CONFIG = """\
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "{root}/parts";
Dir::Etc::preferences "{root}/preferences";
Dir::Etc::preferencesparts "{root}/preferences.d";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
Dir::Cache::pkgcache "{root}/cache/pkgcache.bin";
Dir::Cache::srcpkgcache "{root}/cache/srcpkgcache.bin";
Dir::Etc::netrcparts "{root}/auth.d";
APT::Update::Error-Mode "any";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
# Of the host's apt, what means its own sources: another world knows no such release.
_ALONE = """\
#clear APT::Default-Release;
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
"""


# What the role network_access writes: the scratch folder has the wanted texts instead.
_OURS = ("51runnerhost-network", "runnerhost.conf")
# Not /tmp: hardened hosts run no program there, and apt must run the one of a host with proxies.
PLACE = "/var/lib"
_PREFIX = "runnerhost-offer-"
_FOLDERS = (
    *("", "parts", "preferences.d", "conf.d", "lists", "lists/partial", "cache", "cache/archives"),
)
# Where the host's own apt has what a simulation reads (apt-config(8)).
OWN = {
    "main": "Dir::Etc::main/f",
    "parts": "Dir::Etc::parts/d",
    "sources": "Dir::Etc::sourcelist/f",
    "sources_folder": "Dir::Etc::sourceparts/d",
    "preferences": "Dir::Etc::preferences/f",
    "preferences_folder": "Dir::Etc::preferencesparts/d",
    "lists": "Dir::State::lists/d",
    "status": "Dir::State::status/f",
    "states": "Dir::State::extended_states/f",
    "archives": "Dir::Cache::archives/d",
}


def own_places() -> dict[str, str]:
    """Where the host's own apt has its files, by the names of `OWN`.

    All are empty where its configuration has a mistake: then it does nothing.
    """
    asked = [word for name, option in OWN.items() for word in (name, option)]
    text = _system.run(["apt-config", "shell", *asked]).stdout
    found = dict(word.partition("=")[::2] for word in shlex.split(text))
    return {name: found.get(name, "").rstrip("/") for name in OWN}


# apt's words (acquire-item.cc); it goes on without the component.
_NO_COMPONENT = "doesn't have the component"


class Scratch:
    """A folder in which apt reads other sources and keeps other lists.

    Args:
        network: proxies and private CAs.
        auth: credentials.
        own: the host's places, where its own pins, lists and packages count too.
    """

    def __init__(
        self, network: Mapping[str, str], auth: str, own: Mapping[str, str] | None = None
    ) -> None:
        # Passwords may lie in what killed runs have left.
        _files.sweep_folders(_PREFIX, PLACE)
        self._lock, self.root = _files.scratch_folder(_PREFIX, PLACE)
        self._make_folders()
        places = own or own_places()
        self._real = {f"{self.root}/conf.d/": f"{places['parts']}/"}
        for here, there in (("conf.d", places["parts"]), ("auth.d", "/etc/apt/auth.conf.d")):
            for name in os.listdir(there) if os.path.isdir(there) else ():
                if name not in _OURS:
                    os.symlink(f"{there}/{name}", f"{self.root}/{here}/{name}")
        if auth:
            self._write("auth.d/runnerhost.conf", auth, 0o600)
        self.config = f"{self.root}/apt.conf"
        world = f'Dir::State::extended_states "{own["states"]}";\n' if own else _ALONE
        conf = self._network_conf(network)
        self._write("apt.conf", _CONFIG.format(root=self.root) + world + conf)
        # Read before all others: it says where those are (apt.conf(5)).
        self._write(
            "first.conf",
            f'Dir::Etc::parts "{self.root}/conf.d";\n'
            + (f'Dir::Etc::main "{places["main"]}";\n' if places["main"] else ""),
        )
        self.environment = {"APT_CONFIG": f"{self.root}/first.conf"}

    def _make_folders(self) -> None:
        """All folders, and the files that apt misses."""
        for folder in (*_FOLDERS, "cache/archives/partial"):
            os.makedirs(f"{self.root}/{folder}", exist_ok=True)
            # apt downloads as the user _apt, which must be able to get in whatever the umask is.
            os.chmod(f"{self.root}/{folder}", 0o755)
        os.mkdir(f"{self.root}/auth.d", mode=0o700)
        with contextlib.suppress(KeyError):
            os.chown(f"{self.root}/lists/partial", pwd.getpwnam("_apt").pw_uid, -1)
        for name in ("sources.list", "preferences", "status"):
            self._write(name, "")

    def _network_conf(self, network: Mapping[str, str]) -> str:
        """apt's settings for proxies and private CAs, whose files are written."""
        conf = network.get("conf", "").replace("@ROOT@", self.root)
        if network.get("direct"):
            self._write("apt-direct", network["direct"], 0o755)
        if network.get("authorities"):
            known = (
                _files.read_text(_system.TRUST_BUNDLE)
                if os.path.exists(_system.TRUST_BUNDLE)
                else ""
            )
            self._write("authorities.pem", known + network["authorities"])
            conf += f'Acquire::https::CAInfo "{self.root}/authorities.pem";\n'
        return conf

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        handle = os.open(f"{self.root}/{name}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)

    def add(self, name: str, text: str, real: str = "") -> None:
        """One more file, by default one of sources; errors call it by its real path."""
        name = name if "/" in name else f"parts/{name}"
        if name in ("./sources.list", "./preferences", "./status"):
            os.unlink(f"{self.root}/{name}")
        self._write(name, text)
        if real:
            self._real[os.path.normpath(f"{self.root}/{name}")] = real

    def by_real_paths(self, text: str) -> str:
        """apt's words with the host's own paths in place of the scratch folder's."""
        for here in sorted(self._real, key=len, reverse=True):
            text = text.replace(here, self._real[here])
        return text

    def take_lists(self, folder: str) -> None:
        """The host's own lists, so that what has not changed since is not fetched again."""
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path, here = f"{folder}/{name}", f"{self.root}/lists/{name}"
            if name == "lock" or not os.path.isfile(path):
                continue
            try:
                # apt writes a new file and renames it: the host's own stays as it is.
                os.link(path, here)
            except OSError:
                shutil.copy2(path, here)

    def simulate(self, words: Sequence[str], timeout: int) -> subprocess.CompletedProcess[str]:
        """``apt-get -s``."""
        return _system.run(
            ["apt-get", "-c", self.config, "-q", "-y", "-s", *words],
            timeout=timeout,
            env=self.environment,
        )

    def update(self, timeout: int, *, whole: bool = False) -> str:
        """``apt-get update``: its errors, or an empty text.

        Args:
            timeout: in seconds.
            whole: whether a component that a repository does not have is an error, too.
        """
        done = _system.run(
            ["apt-get", "-c", self.config, "-q", "update"], timeout=timeout, env=self.environment
        )
        if done.returncode == 0 and not (whole and _NO_COMPONENT in done.stderr + done.stdout):
            return ""
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.startswith(("E:", "W:", "Err:", "apt-get:"))
        ]
        return self.by_real_paths(
            "\n".join(dict.fromkeys(lines)) or done.stderr.strip() or "no answer"
        )

    def cache(self, *arguments: str) -> str:
        """The output of ``apt-cache``."""
        return _system.run(
            ["apt-cache", "-c", self.config, *arguments], env=self.environment
        ).stdout

    def versions(self, names: list[str]) -> dict[str, list[str]]:
        """Versions on offer by package."""
        found: dict[str, list[str]] = {name: [] for name in names}
        for line in self.cache("madison", *names).splitlines() if names else []:
            parts = [part.strip() for part in line.split("|")]
            if len(parts) == 3 and parts[1] not in found.setdefault(parts[0], []):
                found[parts[0]].append(parts[1])
        return found

    def origins(self) -> list[str]:
        """The origins of all Release files read."""
        return sorted(set(re.findall(r"\brelease\b.*?\bo=([^,\n]*)", self.cache("policy"))))

    def close(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)
