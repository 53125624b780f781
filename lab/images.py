# SPDX-License-Identifier: GPL-3.0-or-later
"""Host images: a base from mmdebstrap (or a real one), then `platforms/prepare.sh` in it.

Every image is tagged by a digest of all that it is made from, so that a tag
that exists needs no further check.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from platform import machine

from lab.apt_sources import Mirror, controller_mirror, parse_sources_list
from lab.engine import Engine, PutFile
from lab.places import cache_dir, digest, locked, write
from lab.platforms import PRELOADED, Platform
from lab.progress import step
from lab.run import LabError, run
from lab.trust import SYSTEM_BUNDLE, controller_bundle, extra_certificates

PREPARE = Path(__file__).parent / "platforms" / "prepare.sh"
BUILD_TIMEOUT = 900.0
"""Seconds for one bootstrap or one preparation over a slow mirror."""

BASE_PACKAGES = "ca-certificates"
MOUNTS = Path("/proc/self/mountinfo")
FORMAT = 1
"""Increase to rebuild every image."""


def ensure_image(engine: Engine, platform: Platform) -> str:
    """The name of the image for hosts of this platform; built if it is missing."""
    with locked(cache_dir() / "images.lock", wait_message="  waiting for another lab's build"):
        base, real = _ensure_base(engine, platform)
        extra = extra_certificates(controller_bundle(), _bundle(engine, base))
        environment = {
            "LAB_RENAME": "0" if real else "1",
            "UBUNTU_VERSION": platform.ubuntu_version,
            "UBUNTU_NAME": platform.ubuntu_name,
            "UBUNTU_CODENAME": platform.name,
            "LAB_PRELOAD": " ".join(PRELOADED),
        }
        script = PREPARE.read_bytes()
        key = digest(FORMAT, engine.image_id(base), environment, extra, script)
        image = f"localhost/runnerhost-host:{platform.name}-{key}"
        if not engine.image_exists(image):
            with step(f"image of {platform.name}: packages and Ubuntu's settings"):
                _prepare(engine, platform, base, image, environment, extra, script)
        return image


def real_image(platform: Platform) -> str:
    """The requested real Ubuntu image; empty for the stand-in."""
    return os.environ.get(platform.image_variable) or (platform.image if platform.upstream else "")


def pull(engine: Engine, image: str) -> None:
    """Pull a real image. Raises LabError if it is not available."""
    if not engine.image_exists(image):
        with step(f"pulling {image}"):
            engine("pull", "--quiet", image, timeout=BUILD_TIMEOUT)


def debian_mirror(engine: Engine, platform: Platform) -> Mirror:
    """Debian's archives, as the controller or else the platform's base image has them."""
    if mirror := controller_mirror():
        return mirror
    base = _ensure_debian(engine, platform)
    text = engine("run", "--rm", "--network=none", base, "cat", "/etc/apt/sources.list").stdout
    if mirror := parse_sources_list(text.splitlines()):
        return mirror
    raise LabError("no address of Debian's archive: neither apt nor the base image has one")


def _ensure_base(engine: Engine, platform: Platform) -> tuple[str, bool]:
    if named := real_image(platform):
        pull(engine, named)
        return named, True
    return _ensure_debian(engine, platform), False


def _ensure_debian(engine: Engine, platform: Platform) -> str:
    mirror = controller_mirror()
    # None: mmdebstrap's own default.
    lines = mirror.lines(platform.debian) if mirror else []
    key = digest(FORMAT, platform.debian, lines, BASE_PACKAGES, machine())
    image = f"localhost/runnerhost-base:{platform.debian}-{key}"
    if engine.image_exists(image):
        return image
    folder = cache_dir() / "images"
    folder.mkdir(exist_ok=True)
    archive = folder / f"{platform.debian}-{key}.tar"
    log = folder / f"{platform.debian}-{key}.log"
    # In a separate folder, so that everything a failed build leaves (also mounts) is known.
    scratch = folder / "bootstrap"
    clear(scratch)
    scratch.mkdir()
    with step(f"base image: Debian {platform.debian} by mmdebstrap"):
        try:
            run(
                ["mmdebstrap", "--variant=apt", f"--include={BASE_PACKAGES}", platform.debian,
                 str(archive), *lines],
                timeout=BUILD_TIMEOUT, log=log, env=_bootstrap_environment(scratch),
            )  # fmt: skip
            engine("import", "--quiet", str(archive), image, timeout=300)
        finally:
            archive.unlink(missing_ok=True)
            clear(scratch)
    return image


def _bootstrap_environment(scratch: Path) -> dict[str, str]:
    # Another user's mounts end with its namespace, and its mapped ids could not enter the cache.
    return {**os.environ, **({"TMPDIR": str(scratch)} if os.geteuid() == 0 else {})}


def mounts_below(folder: Path, table: Path = MOUNTS) -> list[str]:
    """Mount points below a folder, the innermost first (proc_pid_mountinfo(5))."""
    found = []
    for line in table.read_text().splitlines():
        # Spaces and similar characters are written in octal.
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
        if Path(place).is_relative_to(folder):
            found.append(place)
    return found[::-1]


def clear(folder: Path) -> None:
    """Remove a folder and unmount everything below it; files in mounts are not removed."""
    for place in mounts_below(folder):
        run(["umount", "--lazy", place])
    if left := mounts_below(folder):
        raise LabError(f"{left[0]}: still mounted; unmount it by hand, then run this again")
    if folder.exists():
        run(["rm", "-rf", "--one-file-system", str(folder)], timeout=300)


def _bundle(engine: Engine, base: str) -> str:
    """The base image's certificates, cached by its id."""
    cached = cache_dir() / "images" / f"ca-{digest(engine.image_id(base))}.pem"
    if not cached.exists():
        done = engine("run", "--rm", "--network=none", base, "cat", SYSTEM_BUNDLE, check=False)
        write(cached, done.stdout)
    return cached.read_text()


def _prepare(
    engine: Engine,
    platform: Platform,
    base: str,
    image: str,
    environment: dict[str, str],
    extra: dict[str, str],
    script: bytes,
) -> None:
    name = f"runnerhost-build-{platform.name}"
    log = cache_dir() / "images" / f"prepare-{platform.name}.log"
    log.unlink(missing_ok=True)
    # A killed build may have left its container.
    engine.remove(name)
    variables = "".join(f"{key}={shlex.quote(value)}\n" for key, value in environment.items())
    try:
        engine("create", "--name", name, base, "/bin/bash", "/prepare/prepare.sh")
        files = [
            PutFile("/prepare/prepare.sh", script, 0o755),
            PutFile("/prepare/environment", variables),
        ]
        files += [PutFile(f"/prepare/ca/{file}", pem) for file, pem in extra.items()]
        engine.put(name, files)
        engine("start", "--attach", name, timeout=BUILD_TIMEOUT, log=log)
        changes = ["--change", "CMD=/lib/systemd/systemd", "--change", "STOPSIGNAL=SIGRTMIN+3"]
        engine("commit", "--quiet", *changes, name, image, timeout=300)
    finally:
        engine.remove(name)
