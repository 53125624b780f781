# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of each runner service, to write and to remove.

The files of the whole host are listed in roles/gitlab_runner/vars/main.yml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _credential_files
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import UNITS
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _job_user, _ssh_access
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service

File = dict[str, Any]
"""An item of `file_set`."""
_TEMPLATES = "etc/systemd/system"
_USER_MANAGER = f"{UNITS}/user@{{uid:%s}}.service.d/zz-runnerhost.conf"


@dataclass(frozen=True)
class HostChoices:
    """What decides about the files of every service of a host.

    Attributes:
        user_manager: whether job users keep their systemd manager.
        image: whether an image is being made, which contains nothing of one host and no secret.
        secret: whether the environment holds a proxy's password.
    """

    user_manager: bool = False
    image: bool = False
    secret: bool = False


def written(
    service: Service,
    generation: str,
    environment: str,
    choices: HostChoices,
    home_is_link: bool = False,
) -> list[File]:
    """A service's files, for `file_set`.

    Args:
        service: the service.
        generation: the mark of the settings that it is started with.
        environment: the lines of its env-file.
        choices: the host's.
        home_is_link: whether the home is a link, whose mode is that of where it leads.
    """
    own = {"vars": {"service": {**service.public(), "generation": generation}}}
    return [
        *_user_files(service, choices, home_is_link),
        *_access(service, choices.image),
        {
            "path": _USER_MANAGER % service.user,
            "state": "absent" if choices.user_manager else "file",
            "template": f"{_TEMPLATES}/user@.service.d/zz-runnerhost.conf.j2",
        },
        # The package brings its own service's.
        *(
            [_unit(f"{UNITS}/{service.unit}", "gitlab-runner-NAME.service", own)]
            if service.isolated
            else []
        ),
        _unit(service.drop_in, "gitlab-runner.service.d/zz-runnerhost.conf", own),
        _unit(f"{UNITS}/{service.resume}.service", "runnerhost-resume.service", own),
        _unit(f"{UNITS}/{service.resume}.timer", "runnerhost-resume.timer", own),
        _unit(f"{UNITS}/{service.clean}.service", "runnerhost-clean.service", own),
        {"path": service.folder, "state": "directory", "mode": "0700"},
        {
            "path": f"{service.folder}/env-file",
            # Not in an image: it is a host's, and a proxy's password may be in it.
            "state": "absent" if choices.image else "file",
            "template": "etc/gitlab-runner/env-file.j2",
            "vars": {"environment_lines": environment},
            "mode": "0600",
            "secret": choices.secret,
        },
    ]


def _unit(path: str, template: str, own: Mapping[str, Any]) -> File:
    return {"path": path, "template": f"{_TEMPLATES}/{template}.j2", **own}


def _user_files(service: Service, choices: HostChoices, home_is_link: bool) -> list[File]:
    """What belongs to the service's user; it stays when the service goes."""
    # Checkouts and file variables lie there, which the runner writes for all to read.
    of_user = {"state": "directory", "mode": "0700", "owner": service.user}
    folders = [service.pip_cache_dir, *_job_user.folders(service)]
    return [
        *([] if home_is_link and not service.isolated else [{"path": service.home, **of_user}]),
        {"path": f"{service.home}/.bash_logout", "state": "absent"},
        *({"path": path, **of_user} for path in folders),
        *(
            []
            if choices.user_manager
            else [{"path": f"/var/lib/systemd/linger/{service.user}", "state": "absent"}]
        ),
    ]


def _access(service: Service, image: bool) -> list[File]:
    """The SSH keys of its jobs and the hosts that they know; none in an image."""
    lines = [] if image else _ssh_access.host_lines(list(service.known_hosts))
    keys = [] if image else list(service.ssh_keys)
    return _ssh_access.files(service.service, service.user, lines, keys)


def files_to_remove(service: Service) -> list[File]:
    """All of it that goes with the service: what is root's.

    What holds tokens goes first and the drop-in, by which the service is found, last: a
    run that was cut off is made good by the next one.
    """
    bare = replace(service, known_hosts=(), ssh_keys=())
    found = [
        item
        for item in written(bare, "", "", HostChoices())
        if item.get("state") != "absent" and item.get("owner", "root") == "root"
    ]
    paths = [str(item["path"]) for item in [*found, *_access(bare, image=True)]]
    middle = [p for p in paths if not f"{p}/".startswith(f"{service.folder}/")]
    middle.remove(service.drop_in)
    order = [*middle, service.drop_in]
    # Credentials of package indexes, which the role index_credentials has written.
    homely = [
        {"path": f"{service.home}/{name}", "state": "absent", "own": True, "owner": service.user}
        for name in _credential_files.WRITTEN
    ]
    first: File = {"path": service.folder, "state": "absent"}
    return [first, *homely, *({"path": path, "state": "absent"} for path in order)]


def with_files_to_remove(service: Service) -> dict[str, Any]:
    """A service that goes, for tasks: with ``files``, an item of `file_set` each."""
    return {**service.public(), "files": files_to_remove(service)}
