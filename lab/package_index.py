# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's package index, for the hosts' pip and for jobs."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from lab.engine import PutFile
from lab.run import run
from lab.trust import SYSTEM_BUNDLE

_INDEX_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")
"""pip's options about package sources that another machine can also use."""


_UV = {"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "UV_INDEX": "PIP_EXTRA_INDEX_URL",
       "UV_INSECURE_HOST": "PIP_TRUSTED_HOST"}  # fmt: skip


def index_environment() -> dict[str, str]:
    """The controller's package index as environment of jobs; {} if it is pip's default.

    The host's own bundle is used if the controller's pip has one configured: both
    trust the same authorities (`lab.trust`).
    """
    done = run(["python3", "-m", "pip", "config", "list", "--json"], check=False)
    if done.returncode != 0:
        # pip before 25 lists "section.key='value'" only.
        done = run(["python3", "-m", "pip", "config", "list"], check=False)
    return parse_pip_config(done.stdout if done.returncode == 0 else "")


def parse_pip_config(text: str) -> dict[str, str]:
    """Environment variables from `pip config list`. Addresses with credentials are left out."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, quoted = line.partition("=")
        section, _, option = name.strip().rpartition(".")
        if not separator or section not in ("global", ":env:", "install"):
            continue
        value = quoted.strip().strip("'\"").replace("\\n", " ").strip()
        # pip's own order: the environment beats its files.
        if section == ":env:" or option not in values:
            values[option.replace("default-timeout", "timeout")] = value
    environment = {}
    for option in _INDEX_OPTIONS:
        value = values.get(option, "")
        if option.endswith("index-url"):
            value = " ".join(one for one in value.split() if not _has_credentials(one))
        if value:
            environment[_variable(option)] = value
    if values.get("cert"):
        environment["PIP_CERT"] = SYSTEM_BUNDLE
    # The release program's uv does not read pip's.
    for name, pips in _UV.items():
        if pips in environment:
            environment[name] = environment[pips]
    return environment


def _variable(option: str) -> str:
    name = "default-timeout" if option == "timeout" else option
    return "PIP_" + name.upper().replace("-", "_")


def _has_credentials(address: str) -> bool:
    return "@" in urlsplit(address).netloc


def pip_files(environment: Mapping[str, str]) -> list[PutFile]:
    """The same for all that root's pip fetches on a host; none where it is pip's default."""
    # A second index would be asked on hosts that a test has cut off from it.
    options = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith("PIP_") and name != "PIP_EXTRA_INDEX_URL"
    }
    if not options:
        return []
    lines = [f"{name} = {value}\n" for name, value in options.items()]
    return [PutFile("/etc/pip.conf", "[global]\n" + "".join(lines))]
