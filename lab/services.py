# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's servers in one process: GitLab and package indexes by HTTPS, the mirror by HTTP.

`lab up` starts it detached (`python -m lab serve`) and waits until both answer;
`lab down` ends it. It holds a lock on its pid file for as long as it lives, so
the kernel knows whether it runs, even if the number in the file is outdated.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import importlib.util
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lab.pipeline_tools import pipeline_tools
from lab.places import (
    CHECKOUT,
    GITLAB_NAME,
    GITLAB_PORT,
    HEALTH_PATH,
    INDEXES,
    MIRROR_PORT,
    Lab,
    digest,
    write,
)
from lab.run import LabError, until
from standins.index import tokens
from standins.index.server import Index

LAB_USER = "lab"
"""Who owns the projects of the package indexes."""

IP_FREEBIND = 15
"""linux/in.h; not in Python 3.11's socket module."""

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the service process, in `.lab/NAME/serve.json` (0600)."""

    address: str
    certificate: str
    repositories: dict[str, str]
    """Path below the mirror's root to folder."""
    runner: str
    """What the package gitlab-runner of these repositories holds, for `lab status`."""
    lab_secret: str
    admin_token: str
    index_token: str = ""
    """For uploads to the package index; empty where an older checkout wrote this."""
    test_index_token: str = ""


def ensure_secrets(lab: Lab) -> dict[str, str]:
    """The lab's own secrets, created by the first `up`."""
    found: dict[str, str] = json.loads(lab.secrets.read_text()) if lab.secrets.exists() else {}
    made = {
        "lab_secret": secrets.token_urlsafe(24),
        # As GitLab's personal access tokens look: runners mask them by this prefix.
        "admin_token": f"glpat-{secrets.token_hex(10)}",
        **{f"{which}_token": tokens.make(name, LAB_USER).text
           for which, (name, _) in INDEXES.items()},
        **found,
    }  # fmt: skip
    if made != found:
        write(lab.secrets, json.dumps(made), 0o600)
    return made


def settings_of(lab: Lab) -> ServeSettings | None:
    """The settings of the last `up`, regardless of the current environment."""
    path = lab.state / "serve.json"
    if not path.exists():
        return None
    # One that an older checkout has written names no runner.
    return ServeSettings(**{"runner": "unknown until the next up", **json.loads(path.read_text())})


def gitlab_exists() -> bool:
    """Whether the checkout has the GitLab stand-in."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec("standins.gitlab.app") is not None
    return False


def fingerprint(settings: ServeSettings) -> str:
    """Digest of what a service process would serve, its code included."""
    folders = (CHECKOUT / "standins" / name for name in ("gitlab", "index"))
    code = [*sorted(path for one in folders for path in one.glob("**/*.py")), Path(__file__)]
    compiler = str(pipeline_tools().folder)
    return digest(dataclasses.asdict(settings), [path.read_text() for path in code], compiler)


def ensure_service(lab: Lab, settings: ServeSettings) -> bool:
    """Ensure that a service process with these settings answers; True if one was started."""
    wanted = fingerprint(settings)
    found = health(settings.address)
    running = service_pid(lab)
    if found and found.get("fingerprint") == wanted and found.get("pid") == running:
        return False
    if running:
        stop(lab)
    else:
        stop_orphan(lab, settings.address)
    write(lab.state / "serve.json", json.dumps(dataclasses.asdict(settings)), 0o600)
    _start(lab, settings)
    if gitlab_exists():
        until(
            lambda: gitlab_answers(lab, settings.address),
            timeout=START_TIMEOUT,
            what=f"the lab's GitLab (log: {lab.service_log})",
        )
    return True


def restart(lab: Lab) -> None:
    """Restart the services; GitLab's certificate may be an untrusted one."""
    settings = ServeSettings(**json.loads((lab.state / "serve.json").read_text()))
    stop(lab)
    _start(lab, settings)


def _start(lab: Lab, settings: ServeSettings) -> None:
    wanted = fingerprint(settings)
    with lab.service_log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", "serve"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd=lab.checkout, env={**os.environ, "LAB_NAME": lab.name},
        )  # fmt: skip

    def answering() -> bool:
        if process.poll() is not None:
            tail = lab.service_log.read_text(errors="replace").splitlines()[-15:]
            raise LabError("the lab's service process ended at once\n" + "\n".join(tail))
        now = health(settings.address)
        return bool(now and now.get("fingerprint") == wanted)

    until(answering, timeout=START_TIMEOUT, what=f"the lab's services (log: {lab.service_log})")


def health(address: str) -> dict[str, Any] | None:
    """What the mirror reports about its process; None if it does not answer."""
    try:
        with requests.Session() as session:
            # No proxy of the environment.
            session.trust_env = False
            answer = session.get(f"http://{address}:{MIRROR_PORT}{HEALTH_PATH}", timeout=2)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (requests.RequestException, ValueError):
        return None
    return found


def gitlab_url(address: str) -> str:
    """GitLab's address for the controller."""
    return f"https://{address}:{GITLAB_PORT}"


def gitlab_answers(lab: Lab, address: str) -> bool:
    """Whether GitLab answers with a certificate of the lab's CA."""
    from standins.gitlab.client import LabGitLab

    known = ensure_secrets(lab)
    with LabGitLab(
        gitlab_url(address), known["lab_secret"], known["admin_token"], lab.ca_file, timeout=5
    ) as gitlab:
        return gitlab.healthy()


def index_url(address: str, which: str) -> str:
    """A package index's address for the controller."""
    return f"https://{address}:{INDEXES[which][1]}"


def index_answers(lab: Lab, address: str, which: str) -> bool:
    """Whether a package index answers with a certificate of the lab's CA."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            url = f"{index_url(address, which)}/simple/no-such-project/"
            return session.get(url, timeout=5, verify=str(lab.ca_file)).status_code == 404
    except (requests.RequestException, OSError):
        return False


def service_pid(lab: Lab) -> int | None:
    """Number of the living service process."""
    try:
        file = lab.service_pid.open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read()
            return int(text) if text.strip() else None
    return None


def stop(lab: Lab) -> None:
    """End the service process, if there is one."""
    pid = service_pid(lab)
    if pid is None:
        return
    _end(pid)
    try:
        until(lambda: service_pid(lab) is None, timeout=STOP_TIMEOUT, what="the services to end")
    except LabError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: service_pid(lab) is None, timeout=STOP_TIMEOUT, what="the services to die")


def stop_orphan(lab: Lab, address: str) -> None:
    """End a service process of this lab whose state folder was removed by hand."""
    found = health(address)
    if found is None or found.get("lab") != lab.id:
        return
    process = Path("/proc") / str(found["pid"])
    _end(int(found["pid"]))
    # Wait for its end: it closes its state after its sockets.
    until(lambda: not process.exists(), timeout=STOP_TIMEOUT, what="old services to end")


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


# --- inside the service process --------------------------------------------------------------


class _Server(uvicorn.Server):
    """A server without signal handlers, since the process runs two servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(address: str, port: int) -> socket.socket:
    """A listening socket, also for an address that this machine gets later.

    The bridge that carries the gateway's address exists only while a container runs. The protocol
    is named, since asyncio sets TCP_NODELAY only then: each answer waits 40 ms otherwise.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    listener.bind((address, port))
    listener.listen(128)
    return listener


def mirror_app(lab: Lab, settings: ServeSettings) -> Starlette:
    """The package mirror, and the page by which `lab up` knows this process."""
    about = {"lab": lab.id, "pid": os.getpid(), "fingerprint": fingerprint(settings)}

    async def tell(_: Request) -> Response:
        return JSONResponse(about)

    mounts = [
        Mount(path, StaticFiles(directory=folder), name=path)
        for path, folder in settings.repositories.items()
    ]
    return Starlette(routes=[Route(HEALTH_PATH, tell), *mounts])


def serve(lab: Lab) -> None:
    """Serve until SIGTERM or SIGINT. What runs as `python -m lab serve`."""
    # Write the pid before the lock is taken: an unlocked file means that no process runs.
    with lab.service_pid.open("a+") as pid_file:
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"the services of lab {lab.name} run already") from error
        pid_file.truncate(0)
        pid_file.write(str(os.getpid()))
        pid_file.flush()
        settings = ServeSettings(**json.loads((lab.state / "serve.json").read_text()))
        asyncio.run(_serve(lab, settings))


def indexes(lab: Lab, settings: ServeSettings) -> list[Index]:
    """The package indexes, each with its own account's token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate)
    made = []
    for which, (name, port) in INDEXES.items():
        folder = lab.state / which
        index = Index(bind(settings.address, port), context, name, folder)
        token = tokens.Token(getattr(settings, f"{which}_token"), LAB_USER)
        index.pypi.tokens |= {token.text: token} if token.text else {}
        made.append(index)
    return made


async def _serve(lab: Lab, settings: ServeSettings) -> None:
    servers: list[tuple[_Server, socket.socket]] = []
    # No access log for GitLab: addresses may contain tokens, and GitLab keeps a redacted log.
    common: dict[str, Any] = {"log_level": "info", "timeout_graceful_shutdown": 3}
    if gitlab_exists():
        from standins.gitlab import Settings, create_app

        app = create_app(
            Settings(
                state_dir=lab.state / "gitlab",
                external_url=f"https://{GITLAB_NAME}:{GITLAB_PORT}",
                lab_secret=settings.lab_secret,
                admin_token=settings.admin_token,
                compiler=tuple(pipeline_tools().gitlab_ci_local),
            )
        )
        config = uvicorn.Config(app, access_log=False, ssl_certfile=settings.certificate, **common)
        servers.append((_Server(config), bind(settings.address, GITLAB_PORT)))
    # Start the mirror last: its answer means that the whole process is ready.
    config = uvicorn.Config(mirror_app(lab, settings), **common)
    servers.append((_Server(config), bind(settings.address, MIRROR_PORT)))

    def finish() -> None:
        for server, _ in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, finish)
    async with _together(finish):
        with contextlib.ExitStack() as stack:
            for index in indexes(lab, settings):
                stack.enter_context(index)
            await asyncio.gather(*(server.serve(sockets=[one]) for server, one in servers))


@contextlib.asynccontextmanager
async def _together(finish: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        finish()
