# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics server and its pages."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Callable, Iterable

from standins.gitlab_runner.build import Build
from standins.gitlab_runner.config import Config
from standins.gitlab_runner.times import go_duration_text
from standins.gitlab_runner.tokens import short_token
from standins.gitlab_runner.version import NAME, REVISION, VERSION


def serve(address: str, page: Callable[[str], str | None]) -> None:
    """Serve pages by their paths; OSError or ValueError for an address that cannot be had."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "9252")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = page(self.path.split("?")[0])
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            if self.path.startswith("/debug/jobs/list"):
                self.send_header("X-List-Version", "2")
            self.end_headers()
            self.wfile.write((answer or "404 page not found\n").encode())

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def jobs_list(builds: Iterable[Build]) -> str:
    """Return /debug/jobs/list."""
    return "".join(
        f"url={re.sub(r'[.]git$', '', build.job.clean_url)}/-/jobs/{build.job.id} "
        f"state={build.state} stage={build.stage} executor_stage=shell_run "
        f"duration={go_duration_text(round(time.monotonic() - build.started, 3))}\n"
        for build in builds
    )


def metrics(
    config: Config, builds: Iterable[Build], counters: dict[str, int], system_id: str
) -> str:
    """Return /metrics."""
    version = f'version="{VERSION}",revision="{REVISION}",name="{NAME}"'
    lines = [
        f"gitlab_runner_version_info{{{version}}} 1",
        f"gitlab_runner_concurrent {config.concurrent}",
        f"gitlab_runner_configuration_loaded_total {counters['loads']}",
        f"gitlab_runner_configuration_loading_error_total {counters['load_errors']}",
    ]
    for runner in config.runners:
        labels = (
            f'runner="{short_token(str(runner["token"]))}",'
            f'runner_name="{runner.get("name", "")}",system_id="{system_id}"'
        )
        lines.append(f"gitlab_runner_limit{{{labels}}} {runner.get('limit', 0)}")
        lines.append(f'gitlab_runner_jobs{{{labels},state="idle"}} 0')
        lines.append(f"gitlab_runner_jobs_total{{{labels}}} {counters['jobs']}")
    for build in builds:
        labels = (
            f'runner="{short_token(str(build.job.runner["token"]))}",state="{build.state}",'
            f'stage="{build.stage}",executor_stage="shell_run"'
        )
        lines.append(f"gitlab_runner_jobs{{{labels}}} 1")
    return "\n".join(lines) + "\n"
