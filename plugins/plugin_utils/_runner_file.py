# SPDX-License-Identifier: Apache-2.0
"""The host's config.toml as its half of these actions hands it over, and takes it back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network, _runner_toml
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

IO = "runnerhost.toolkit.runner_config_io"
# Swaps that may fail because the file was changed meanwhile.
TRIES = 5
# A rotation due within this many seconds is waited for: from read to swap it takes a few.
ROTATION_SOON = 10.0
# The daemon rotates once this part of a token's life is over.
ROTATION_PART = 0.75


def encode(text: str) -> str:
    """A text as the host's side takes it."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def decode(text: str) -> str:
    """A text as the host's side gives it."""
    return bytes.fromhex(text).decode("utf-8", "surrogateescape")


def note_of(read: Mapping[str, Any]) -> dict[str, Any]:
    """The state file's content; an unreadable one counts as none."""
    try:
        note = json.loads(decode(read["state_text"]) or "{}")
    except ValueError:
        note = {}
    return note if isinstance(note, dict) else {}


def without_runners(config: Data) -> str:
    """The configuration without its runners: the daemon takes no new job, and goes on with its own.

    What a drain and a full disk put in config.toml's place.
    """
    head = "# The runner is paused; its runners are in the file beside this one.\n"
    return head + _runner_toml.dump({key: config[key] for key in config if key != "runners"})


def way_to_gitlab(ours: dict[str, str], given: dict[str, Any]) -> dict[str, str]:
    """What of the service's environment, ours and the user's, decides how GitLab is reached."""
    environment = _network.with_given(ours, given)
    names = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir")
    return {str(k): str(v) for k, v in environment.items() if str(k).lower() in names}


def seconds(moment: Any) -> float | None:
    """A TOML date and time as seconds since 1970; None for the zero time and for none."""
    text = str(moment or "")
    if not text or text.startswith("0001-"):
        return None
    head, mark, tail = text.replace("Z", "+00:00").partition(".")
    if mark:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        head += "." + digits[:6].ljust(6, "0") + tail[len(digits) :]
    try:
        return datetime.fromisoformat(head).timestamp()
    except ValueError:
        return None


def rotation_due(config: Data, now: float) -> bool:
    """True if the daemon may rotate a token, and so write the file, within seconds."""
    for runner in config.get("runners", []):
        expires = seconds(runner.get("token_expires_at"))
        flags = runner.get("feature_flags") or {}
        if expires is None or flags.get("FF_DISABLE_AUTOMATIC_TOKEN_ROTATION"):
            continue
        obtained = seconds(runner.get("token_obtained_at")) or 0.0
        if obtained + ROTATION_PART * (expires - obtained) - now < ROTATION_SOON:
            return True
    return False
