# SPDX-License-Identifier: GPL-3.0-or-later
"""What depends on this host and on the user who runs the program."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import string

from standins.gitlab_runner.log import log


def default_config_dir() -> str:
    """Return where config.toml lies unless told otherwise."""
    if os.getuid() == 0:
        return "/etc/gitlab-runner"
    home = os.environ.get("HOME", "")
    return os.path.join(home, ".gitlab-runner") if home else os.getcwd()


def user_mode_warning(*, with_run: bool) -> None:
    """Log the user that this runs as."""
    if os.getuid() == 0:
        log.info("Running in system-mode.")
    else:
        log.warning("Running in user-mode.")
        if with_run:
            log.warning("The user-mode requires you to manually start builds processing:")
            log.warning("$ gitlab-runner run")
        log.warning("Use sudo for system-mode:")
        log.warning("$ sudo gitlab-runner...")
    log.info("")


def system_id(config_path: str) -> str:
    """Return this host's id, made and kept beside config.toml where it is missing or bad."""
    path = os.path.join(os.path.dirname(config_path), ".runner_system_id")
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        known = file.read().strip()
        if re.fullmatch(r"[sr]_[0-9a-zA-Z]{12}", known):
            return known
    value = ""
    for source in ("/var/lib/dbus/machine-id", "/etc/machine-id"):
        with contextlib.suppress(OSError), open(source, encoding="utf-8") as file:
            machine = file.read().strip()
            if machine:
                mac = hmac.new(machine.encode(), b"gitlab-runner", hashlib.sha256)
                value = "s_" + mac.hexdigest()[:12]
                break
    if not value:
        letters = string.ascii_letters + string.digits
        value = "r_" + "".join(secrets.choice(letters) for _ in range(12))
    log.info("Created missing unique system ID", system_id=value)
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(value)
    except OSError as error:
        log.warning(f"Couldn't save new system ID on state file. {error}")
    return value
