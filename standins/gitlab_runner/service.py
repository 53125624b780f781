# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd service: install, uninstall, start, stop, restart, status."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys

from standins.gitlab_runner.config import Config, ConfigError
from standins.gitlab_runner.log import log
from standins.gitlab_runner.options import Options
from standins.gitlab_runner.version import NAME


def systemd_escape(word: str) -> str:
    """Escape a path in a unit file as the service library does."""
    return word.replace(" ", r"\x20")


def run_arguments(options: Options) -> list[str]:
    """Return the arguments that ``install`` gives the service's program."""
    arguments = ["run", "--config", options.config]
    arguments += ["--working-directory", options.get("working-directory", os.getcwd())]
    arguments += ["--service", options.get("service", NAME)]
    if options.on("syslog"):
        arguments.append("--syslog")
    if user := options.get("user"):
        arguments += ["--user", user]
    return arguments


def unit_text(options: Options) -> str:
    """Return the unit file that ``install`` writes."""
    service = options.get("service", NAME)
    binary = os.path.realpath(sys.argv[0])
    arguments = run_arguments(options)
    quoted = " ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in arguments
    )
    init_user = options.get("init-user")
    return (
        "[Unit]\n"
        "Description=GitLab Runner\n"
        f"ConditionFileIsExecutable={systemd_escape(binary)}\n"
        " \nAfter=network.target \n"
        "\n[Service]\n"
        "StartLimitInterval=5\n"
        "StartLimitBurst=10\n"
        f"ExecStart={systemd_escape(binary)} {quoted}\n"
        f"\n\n{f'User={init_user}' if init_user else ''}\n\n\n\n\n"
        "Restart=always\n"
        "\n"
        "RestartSec=120\n"
        f"EnvironmentFile=-/etc/sysconfig/{service}\n"
        "\n[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def systemctl(*words: str) -> tuple[int, str, str]:
    """Run systemctl; the words of the real one where there is none."""
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, timeout=7300, check=False
        )
    except FileNotFoundError:
        log.fatal('exec: "systemctl": executable file not found in $PATH')
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def checked_systemctl(action: str, service: str, *words: str) -> None:
    """Run systemctl and exit 1 when it fails."""
    code, _, error = systemctl(*words)
    if code:
        log.fatal(f'Failed to {action} {service}: "systemctl" failed with stderr: {error}')


def is_systemd() -> bool:
    """Tell whether the service library takes this for a systemd machine (its isSystemd)."""
    if os.path.exists("/run/systemd/system"):
        return True
    if not shutil.which("systemctl"):
        return False
    with contextlib.suppress(OSError), open("/proc/1/comm", encoding="utf-8") as file:
        return file.read().strip() == "systemd"
    return False


def save_first_config(options: Options) -> None:
    """Save a configuration without runners where there is none, as ``install`` does."""
    try:
        config = Config.load(options.config)
        if not os.path.exists(options.config):
            config.save(options.config)
    except (ConfigError, OSError) as error:
        log.fatal(f"Failed to install {options.get('service', NAME)}: {error}")


def write_unit(service: str, path: str, text: str) -> None:
    """Write the unit file."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        log.fatal(f"Failed to install {service}: open {path}: {words}")


def do_service(command: str, options: Options) -> None:
    """Manage the service."""
    if command == "install":
        save_first_config(options)
    service = options.get("service", NAME)
    if shutil.which("systemctl") and not is_systemd():
        # The real one writes a SysV script and starts it: nothing of ours may come to that.
        log.fatal(f"Failed to {command} {service}: no systemd here, and no stand-in without it")
    unit = f"{service}.service"
    path = f"/etc/systemd/system/{unit}"
    if command == "install":
        if options.get("user") and options.get("init-user"):
            log.fatal("Only one of 'user' or 'init-user' can be specified.")
        systemctl("--version")
        if os.path.lexists(path):
            log.fatal(f"Failed to install {service}: Init already exists: {path}")
        write_unit(service, path, unit_text(options))
        checked_systemctl(command, service, "enable", unit)
        checked_systemctl(command, service, "daemon-reload")
    elif command == "uninstall":
        checked_systemctl(command, service, "disable", unit)
        try:
            os.remove(path)
        except OSError as error:
            log.fatal(f"Failed to uninstall {service}: remove {path}: {error.strerror}")
        checked_systemctl(command, service, "daemon-reload")
    elif command == "status":
        do_status(service, unit)
    else:
        checked_systemctl(command, service, command, unit)


def do_status(service: str, unit: str) -> None:
    """Print the service's state; exit 1 unless it runs (activating counts as running)."""
    _, state, _ = systemctl("is-active", unit)
    if state in ("active", "activating"):
        print(f"{service}: Service is running")
        return
    _, known, _ = systemctl("list-unit-files", "-t", "service", unit)
    words = "Service has stopped" if unit in known else "the service is not installed"
    print(f"{service}: {words}", file=sys.stderr)
    sys.exit(1)
