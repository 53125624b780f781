# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is asked before anything is planned for its runners, and its typed answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import (
    DROP_INS,
    names_of,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_config_file import (
    STATE_FILE,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import (
    OTHER_BINARY,
    PAIR,
    UNCONFIRMED,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_processes import Report
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _job_user,
    _network,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._network import Network
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    TLS_FILES,
    gitlab_environment,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import Settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service, present

LOGIND = "systemd-logind.service"
# Those that the role writes on every host, whatever its services.
HOST_UNITS = ("runnerhost-clean.timer", "runnerhost-disk.service", "runnerhost-disk.timer")


@dataclass(frozen=True)
class Logind:
    """What logind does at the end of a session.

    Attributes:
        kill: whether it kills what a user leaves running.
        only: of which users alone; none for all.
    """

    kill: bool
    only: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Logind | None:
        """As the host says it; None where no logind runs."""
        if not values:
            return None
        return cls(bool(values["kill"]), tuple(sorted({str(name) for name in values["only"]})))


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What is on the host now.

    Attributes:
        machine: stands for the machine's id; empty if it has none.
        packages: dpkg's records of the runner's packages.
        texts: of the files that the role writes, by path; without those that are not there.
        kinds: what lies at the paths that were asked about.
        isolated: names of the isolated runners that the toolkit has made there.
        accounts: of the job users, by name; None for one that is missing.
        units: properties of units, by the name that they were asked for.
        missing_groups: wanted groups that it does not have.
        problems: paths that a service cannot use, and a GitLab that gives the host no answer.
        logind: what logind has in force; None where none runs.
        logind_foreign: the same as other files than the toolkit's have it.
        logind_undone_by: one of them that would undo what the toolkit's says; empty for none.
        daemons: runners that the toolkit does not manage, and what would start one.
        cautions: what jobs cannot use, although the service can do without it.
        cpus, memory: the host's, the latter in bytes.
        full_disk: the first disk that has too little free for jobs; empty for none.
    """

    machine: str
    packages: Mapping[str, Mapping[str, str]]
    texts: Mapping[str, str]
    kinds: Mapping[str, str]
    isolated: Sequence[str]
    accounts: Mapping[str, Mapping[str, Any] | None]
    units: Mapping[str, Mapping[str, str]]
    missing_groups: Collection[str]
    problems: Sequence[str]
    logind: Logind | None
    logind_foreign: Logind
    logind_undone_by: str
    daemons: Report
    cautions: Sequence[str]
    cpus: int
    memory: int
    full_disk: str

    def unit(self, service: Service) -> Mapping[str, str]:
        """A service's unit."""
        return self.units.get(service.unit, {})

    def manager(self, service: Service) -> Mapping[str, str]:
        """The systemd manager of a service's user."""
        return self.units.get(manager_of(service), {})


def state_of(service: Service) -> str:
    """The file in which the toolkit notes the service's runners."""
    return f"{service.folder}/{STATE_FILE}"


def manager_of(service: Service) -> str:
    """The unit of the user's systemd manager, as `host_info` takes it."""
    return f"user@{{uid:{service.user}}}.service"


def question(
    settings: Settings, made: Collection[str] | None, url: str, network: Network
) -> dict[str, Any]:
    """What the host is asked, in one call: the arguments of `host_info`; secret with a login.

    Args:
        settings: the inventory's.
        made: files that this run brings; none for an image.
        url: the GitLab of runners without one of their own.
        network: how the host reaches it.
    """
    paths, services = settings.paths, settings.services
    return {
        "packages": list(PAIR),
        "texts": [
            paths.sources,
            paths.preferences,
            UNCONFIRMED,
            paths.machine,
            paths.job_users,
            *(path for one in services for path in (one.drop_in, state_of(one))),
        ],
        "groups": sorted({group for one in services for group in one.groups}),
        "files": [OTHER_BINARY, *(one.home for one in services)],
        "users": [one.user for one in services],
        "checks": [
            *(check for one in services for check in _job_user.checks(one, made)),
            *([] if settings.image else listeners(services)),
            *([] if settings.image else programs(settings)),
        ],
        "units": [
            LOGIND,
            *HOST_UNITS,
            *(
                name
                for one in services
                for name in (
                    one.unit,
                    manager_of(one),
                    f"{one.resume}.service",
                    f"{one.resume}.timer",
                    f"{one.clean}.service",
                )
            ),
        ],
        "logind": True,
        "logind_ours": paths.logind,
        "globs": [DROP_INS],
        "drop_ins": {
            one.unit: {
                "drop_in": one.drop_in,
                "home": one.home,
                "config": f"{one.folder}/config.toml",
                # The package's unit has the package's own user.
                "command": one.user if one.user != one.service else "",
            }
            for one in services
        },
        "other_runners": True,
        # An image never asks GitLab.
        "gitlab": [] if settings.image else list(gitlabs(services, url, network)),
        "gitlab_authorities": [text for __, text in network.authorities],
        "disk": None if settings.image else disk(settings),
        "package_index": None if settings.image else package_index(services[0], network),
    }


def programs(settings: Settings) -> Iterator[dict[str, Any]]:
    """The folders of programs, as `host_info` takes them; not those in homes, which jobs fill."""
    homes = tuple(f"{one.home}/" for one in settings.services)
    for index, path in enumerate(settings.path):
        # Below /usr, a package that is still to be installed may bring it.
        brought = path.startswith("/usr/") and not path.startswith("/usr/local/")
        if not brought and not path.startswith(homes):
            at = f"gitlab_runner_path[{index}]"
            yield {"label": at, "path": path, "kind": "directory", "mild": True}


def disk(settings: Settings) -> dict[str, Any]:
    """The disks for which the host pauses its runners, as `host_info` takes them."""
    own = [path for one in settings.services for path in (*one.builds, *one.cache)]
    space, inodes = settings.least_free
    return {"paths": [*own, "/tmp", "/var/tmp"], "space": space, "inodes": inodes}


def package_index(service: Service, network: Network) -> dict[str, Any] | None:
    """The jobs' package index, as `host_info` takes it; None where the inventory names none."""
    environment = _network.with_given(network.environment(), service.environment)
    url = str(environment.get("PIP_INDEX_URL", ""))
    if not url or url != network.index_url:
        return None
    line = f"PIP_INDEX_URL={_env_file.quote(url)}"
    return {
        "url": url,
        "environment": network.index_question(),
        "authorities": [text for __, text in network.authorities],
        "known": {"path": f"{service.folder}/env-file", "line": line},
    }


def listeners(services: Sequence[Service]) -> Iterator[dict[str, str]]:
    """The addresses on which the daemons are to listen, as `host_info` takes them."""
    for service in services:
        tables = (
            ("", service.settings),
            (".session_server", service.settings.get("session_server")),
        )
        for name, table in tables:
            if isinstance(table, Mapping) and table.get("listen_address"):
                at = f"{service.variable('settings')}{name}.listen_address"
                address = _runner_validation.with_port(str(table["listen_address"]))
                yield {"label": at, "path": address, "kind": "listener"}


def gitlabs(services: Sequence[Service], url: str, network: Network) -> Iterator[dict[str, Any]]:
    """The GitLab of each runner that is to be there, as `host_info` takes it."""
    for service in services:
        environment = gitlab_environment(network.environment(), service.environment)
        for index, runner in enumerate(service.runners):
            if present([runner]):
                own = runner.get("url")
                at = f"{service.variable('runners')}[{index}] ({runner['name']})"
                yield {
                    "label": f"{at}.url" if own else "gitlab_runner_url",
                    "token": str(runner.get("token") or ""),
                    "token_label": f"{at}.token",
                    "url": str(own or url),
                    "folder": service.folder,
                    "tls": {key: str(runner[key]) for key in TLS_FILES.values() if runner.get(key)},
                    # The bundle of trusted CAs is not written yet.
                    "environment": {
                        name: value
                        for name, value in environment.items()
                        if not name.lower().startswith("ssl_")
                    },
                }


def facts(info: Mapping[str, Any]) -> HostFacts:
    """The answer of `host_info`."""
    files: Mapping[str, Mapping[str, Any]] = info["files"]
    return HostFacts(
        machine=str(info["machine"]),
        packages=info["packages"],
        texts={path: str(one["text"]) for path, one in files.items() if "text" in one},
        kinds={path: str(one["kind"]) for path, one in files.items()},
        isolated=names_of(info["globs"][DROP_INS]),
        accounts=info["users"],
        units=info.get("units", {}),
        missing_groups=frozenset(info["missing_groups"]),
        problems=[*info["problems"], *info.get("gitlab_problems", [])],
        cautions=[*info.get("cautions", []), *info.get("package_index", [])],
        logind=Logind.of(info["logind"]),
        logind_foreign=Logind.of(info["logind_foreign"]) or Logind(False, ()),
        logind_undone_by=str(info["logind_foreign"].get("undone_by", "")),
        daemons=info["other_runners"],
        cpus=int(info.get("cpus", 1)),
        memory=int(info.get("memory", 0)),
        full_disk=str(info.get("full_disk", "")),
    )
