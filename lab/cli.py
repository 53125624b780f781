# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line: `python -m lab VERB`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.places import Lab, lab_from_environment
from lab.platforms import chosen_platforms, upstream_world
from lab.run import LabError

EPILOG = """\
environment:
  LAB_NAME             which lab (default: demo); several can be up at once
  HOSTS                platforms of the hosts for `up` and the demos, for example "jammy noble"
  WORLD                upstream: real Ubuntu images, deadsnakes and GitLab's packages, where the
                       internet is in reach (default: stand-in)
  LAB_GITLAB_RUNNER    a real gitlab-runner binary to pack instead of the stand-in; several as
                       PATH:PATH, the oldest first
  LAB_IMAGE_JAMMY      a real ubuntu:22.04 image to use instead of the Debian userland
  LAB_IMAGE_NOBLE      the same for noble: a real ubuntu:24.04 image
  RUNNERHOST_CACHE     where images' and repositories' parts are cached
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit status."""
    options = build_parser().parse_args(arguments)
    handler: Callable[[Lab, argparse.Namespace], int] = options.handler
    try:
        upstream_world()  # Refuses an unknown one before anything else.
        return handler(lab_from_environment(), options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlab: interrupted; `python -m lab up` goes on from here", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description="A runner host and everything it talks to, on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, handler: Callable[[Lab, argparse.Namespace], int], text: str) -> (
        argparse.ArgumentParser
    ):  # fmt: skip
        one = verbs.add_parser(name, help=text, description=text)
        one.set_defaults(handler=handler)
        return one

    one = verb("up", _up, "bring the lab up, or repair it")
    one.add_argument("--hosts", help="platforms of the hosts (default: $HOSTS, else jammy)")
    verb("down", _down, "remove the lab; the cache stays")
    verb("status", _status, "show what there is; exit 1 if not all of it answers")
    one = verb("reset", _reset, "replace a host by a fresh one of the same image and address")
    one.add_argument("host")
    one = verb("os-upgrade", _os_upgrade, "upgrade a host to the next release, and restart it")
    one.add_argument("host", nargs="?", default="jammy")
    one.add_argument("--keep-obsolete", action="store_true", help="remove no package at the end")
    one.add_argument("--offer", action="store_true", help="only have the mirror offer that release")
    one = verb("shell", _shell, "log in to a host over SSH")
    one.add_argument("host", nargs="?", default="jammy")
    one.add_argument("command", nargs="*", help="run this instead of a login shell")
    one = verb("submit", _submit, "queue a job and follow it; exit 1 unless it succeeds")
    one.add_argument("script", nargs="*", help="the script, a command per argument")
    one.add_argument("--file", type=Path, help="the script, a command per line")
    one.add_argument("--project", type=Path, help="a project folder to push first")
    one.add_argument("--tag", action="append", default=[], help="a runner tag the job asks for")
    one.add_argument("--artifact", action="append", default=[], help="a path to upload")
    one.add_argument("--timeout", type=int, default=600, help="seconds (default: 600)")
    one = verb("logs", _logs, "show logs of the services or of a host")
    one.add_argument("of", nargs="?", default="gitlab", help="gitlab, mirror or a host")
    verb("doctor", _doctor, "say what this machine lacks; exit 1 if anything")
    one = verb("demo", _demo, "provision a host, build wheels on it, show the result")
    one.add_argument("--hosts", help="platforms of the hosts (default: $HOSTS, else jammy)")
    one = verb("demo-release", _demo_release, "release a project from a tag, show the result")
    one.add_argument("--hosts", help="platforms of the hosts (default: $HOSTS, else jammy)")
    verb("serve", _serve, "(internal) the lab's services")
    return parser


def _up(lab: Lab, options: argparse.Namespace) -> int:
    from lab.world import up

    start = time.monotonic()
    world = up(lab, chosen_platforms(options.hosts))
    names = ", ".join(platform.name for platform in world.platforms)
    did = "up" if world.changed else "was up already"
    print(f"lab {lab.name} {did}: {names}; gitlab-runner: {world.runner};"
          f" {time.monotonic() - start:.1f} s")  # fmt: skip
    print(f"inventory: {os.path.relpath(lab.inventory)}")
    return 0


def _down(lab: Lab, options: argparse.Namespace) -> int:
    from lab.world import down

    down(lab)
    print(f"lab {lab.name} is down")
    return 0


def _status(lab: Lab, options: argparse.Namespace) -> int:
    from lab.world import status

    now = status(lab)
    subnet = f"{now.network.subnet}" if now.network else "no network"
    print(f"lab {lab.name} ({subnet})")
    print(f"  gitlab-runner  {now.runner}")
    print(f"  gitlab         {'answers' if now.gitlab else 'no answer'}")
    mirror = "answers" if now.packages else "none, the real repositories"
    print(f"  mirror         {mirror if now.mirror else 'no answer'}")
    print(f"  indexes        {'answer' if now.indexes else 'no answer'}")
    print(f"  services       {f'pid {now.service_pid}' if now.service_pid else 'not running'}")
    for host in now.hosts:
        print(f"  host {host.name:<9} {host.state} at {host.address}, image {host.image}")
    if not now.hosts:
        print("  no hosts")
    return 0 if now.is_up else 1


def _reset(lab: Lab, options: argparse.Namespace) -> int:
    from lab.world import reset

    start = time.monotonic()
    (platform,) = chosen_platforms(options.host)
    reset(lab, platform)
    print(f"host {platform.name} is fresh; {time.monotonic() - start:.1f} s")
    return 0


def _os_upgrade(lab: Lab, options: argparse.Namespace) -> int:
    from lab.os_upgrade import offer, upgrade

    start = time.monotonic()
    (platform,) = chosen_platforms(options.host)
    if options.offer:
        print(f"the mirror offers {offer(lab, platform).name}")
        return 0
    release = upgrade(lab, platform, remove_obsolete=not options.keep_obsolete)
    print(f"host {platform.name} is {release.name} now; {time.monotonic() - start:.1f} s")
    return 0


def _shell(lab: Lab, options: argparse.Namespace) -> int:
    from lab.hosts import ssh_command
    from lab.world import status

    address = {host.name: host.address for host in status(lab).hosts}.get(options.host)
    if not address:
        raise LabError(f"lab {lab.name} has no host {options.host} (python -m lab up)")
    return subprocess.run([*ssh_command(lab, address), *options.command]).returncode


def _submit(lab: Lab, options: argparse.Namespace) -> int:
    from lab.jobs import submit

    script = list(options.script)
    if options.file:
        script += [line for line in options.file.read_text().splitlines() if line.strip()]
    if not script:
        raise LabError("submit: a script, or --file with one")
    return submit(lab, script, project=options.project, tags=options.tag,
                  artifacts=options.artifact, timeout=options.timeout)  # fmt: skip


def _logs(lab: Lab, options: argparse.Namespace) -> int:
    from lab.logs import show

    show(lab, options.of)
    return 0


def _doctor(lab: Lab, options: argparse.Namespace) -> int:
    from lab.doctor import examine

    return examine()


def _demo(lab: Lab, options: argparse.Namespace) -> int:
    from lab.demo import demo

    return demo(lab, chosen_platforms(options.hosts))


def _demo_release(lab: Lab, options: argparse.Namespace) -> int:
    from lab.demo_release import demo_release

    return demo_release(lab, chosen_platforms(options.hosts))


def _serve(lab: Lab, options: argparse.Namespace) -> int:
    from lab.services import serve

    serve(lab)
    return 0
