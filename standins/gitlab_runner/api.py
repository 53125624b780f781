# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's calls about one runner, with the log lines of the real program."""

from __future__ import annotations

from typing import Any

from standins.gitlab_runner.log import log
from standins.gitlab_runner.network import CLIENT_ERROR, Network
from standins.gitlab_runner.times import ZERO_TIME, now_text
from standins.gitlab_runner.tokens import GLRT, short_token
from standins.gitlab_runner.version import ARCH, NAME, REVISION, VERSION


def runner_info(executor: str = "", shell: str = "") -> dict[str, Any]:
    """Return what the runner says of itself."""
    features = (
        "variables artifacts cache fallback_cache_keys upload_multiple_artifacts "
        "upload_raw_artifacts session terminal refspecs masking raw_variables artifacts_exclude "
        "multi_build_steps trace_reset trace_checksum trace_size cancelable vault_secrets "
        "return_exit_code cancel_gracefully shared"
    )
    return {
        "name": NAME,
        "version": VERSION,
        "revision": REVISION,
        "platform": "linux",
        "architecture": ARCH,
        "executor": executor,
        "shell": shell or "bash",
        "features": dict.fromkeys(features.split(), True),
        "config": {"gpus": ""},
    }


class Api:
    """The calls about one runner, with the real one's log lines."""

    def __init__(self, runner: dict[str, Any]) -> None:
        self.runner = runner
        self.token = str(runner.get("token", ""))
        self.network = Network(str(runner.get("url", "")), str(runner.get("tls-ca-file", "")))
        self.fields = {"runner": short_token(self.token)}

    def verify(self, system: str) -> dict[str, Any] | None:
        """Return the server's word on the token: None when it is refused, {} when there is none."""
        body = {"token": self.token, "system_id": system}
        headers = {"RUNNER-TOKEN": self.token}
        answer = self.network.json("POST", "runners/verify", body, 200, headers)
        new = self.token.startswith(GLRT)
        if answer.status == 200:
            log.info(f"Verifying runner... is {'valid' if new else 'alive'}", **self.fields)
            return answer.body
        if answer.status == 403:
            if new:
                log.info("Verifying runner... is not valid", **self.fields)
            else:
                log.error("Verifying runner... is removed", status=answer.text, **self.fields)
            return None
        words = "client error" if answer.status == CLIENT_ERROR else "failed"
        log.error(f"Verifying runner... {words}", status=answer.text, **self.fields)
        return {}

    def register_legacy(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Register with a registration token, which servers refuse by now."""
        body = {**parameters, "token": self.token, "info": runner_info()}
        answer = self.network.json("POST", "runners", body, 201)
        if answer.status == 201:
            log.info("Registering runner... succeeded", **self.fields)
            return answer.body
        words = {403: "forbidden (check registration token)", CLIENT_ERROR: "client error"}
        log.error(
            f"Registering runner... {words.get(answer.status, 'failed')}",
            status=answer.text,
            **self.fields,
        )
        return None

    def unregister(self, system: str) -> bool:
        """Delete this host's manager (or the runner, with an old token)."""
        new = self.token.startswith(GLRT)
        path = "runners/managers" if new else "runners"
        body = {"token": self.token, **({"system_id": system} if new else {})}
        answer = self.network.json("DELETE", path, body, 204, parse=False)
        base = f"Unregistering runner{' manager' if new else ''} from GitLab"
        if answer.status == 204:
            log.info(f"{base} succeeded", **self.fields)
            return True
        words = {403: "forbidden", CLIENT_ERROR: "client error"}.get(answer.status, "failed")
        log.error(f"{base} {words}", status=answer.text, **self.fields)
        return False

    def reset(self, pat: str = "") -> bool:
        """Put a new token and its times into the entry; False when the server refuses."""
        path = "runners/reset_authentication_token"
        body: dict[str, Any] = {"token": self.token}
        headers: dict[str, str] = {}
        if pat:
            path = f"runners/{self.runner.get('id', 0)}/reset_authentication_token"
            body, headers = {}, {"PRIVATE-TOKEN": pat}
        answer = self.network.json("POST", path, body, 201, headers)
        base = "Resetting runner authentication token..."
        if answer.status == 201:
            log.info(f"{base} succeeded", **self.fields)
            self.runner["token"] = answer.body["token"]
            self.runner["token_obtained_at"] = now_text(nanoseconds=True)
            self.runner["token_expires_at"] = answer.body.get("token_expires_at") or ZERO_TIME
            return True
        words = {403: "failed (check used token)", CLIENT_ERROR: "client error"}
        log.error(f"{base} {words.get(answer.status, 'failed')}", status=answer.text, **self.fields)
        return False
