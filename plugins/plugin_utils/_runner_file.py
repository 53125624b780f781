# SPDX-License-Identifier: GPL-3.0-or-later
"""config.toml on the host: what `host_info` reads there, and what `runner_config_io` does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_processes import (
    Report,
    no_others,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _runner_state,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

IO = "runnerhost.toolkit.runner_config_io"
# The call of `host_info` among those of `runner_config_io`.
READ = "read"
# Swaps that may fail because the file was changed meanwhile.
TRIES = 5
# A rotation due within this many seconds is waited for: from read to swap it takes a few.
ROTATION_SOON = 10.0
# The daemon rotates once this part of a token's life is over.
ROTATION_PART = 0.75
# The variables of a job with the files that an entry of config.toml names.
TLS_FILES = {
    "CI_SERVER_TLS_CA_FILE": "tls-ca-file",
    "CI_SERVER_TLS_CERT_FILE": "tls-cert-file",
    "CI_SERVER_TLS_KEY_FILE": "tls-key-file",
}


@dataclass(frozen=True)
class HostFile:
    """config.toml and what lies beside it, as one call has read them.

    Attributes:
        exists: whether there is a config.toml.
        text: its text; holds tokens.
        sha256: its digest, empty without one.
        state: the state file's content.
        safe: whether both files have the right owner and mode.
        paused_sha256: digest of the configuration that a full disk puts in its place.
        system_id: of the host, empty if it has none yet.
        now: the host's time.
        active: whether the service runs.
        complaints: what the daemon says of runners that it leaves alone, each with its time.
        other_runners: the host's daemons that the toolkit does not manage, if asked for.
    """

    exists: bool
    text: str = field(repr=False)
    sha256: str
    state: Data = field(repr=False)
    safe: bool
    paused_sha256: str
    system_id: str
    now: float
    active: bool
    complaints: Sequence[tuple[float, str]] = field(default=(), repr=False)
    other_runners: Report = field(default_factory=no_others)

    @classmethod
    def from_answer(cls, read: Mapping[str, Any]) -> HostFile:
        """What `host_info` and `runner_config_io` return of it."""
        return cls(
            exists=bool(read["exists"]),
            text=decode(str(read["text"])),
            sha256=str(read["sha256"]),
            state=_runner_state.parse_state(decode(str(read["state_text"]))),
            safe=bool(read["safe"]),
            paused_sha256=str(read["paused_sha256"]),
            system_id=str(read["system_id"]),
            now=float(read["now"]),
            active=bool(read["active"]),
            complaints=[(float(at), decode(text)) for at, text in read.get("complaints", [])],
            other_runners=read.get("other_runners", no_others()),
        )

    def config(self) -> Data:
        """Its data.

        Raises:
            TomlError: if the text is not TOML.
        """
        return _runner_toml.parse(self.text)


@dataclass(frozen=True)
class Request:
    """A token that GitLab is asked about by the runner's own `register`."""

    index: int
    name: str
    url: str
    token: str = field(repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_table(cls, index: int, table: Mapping[str, Any], token: str) -> Request:
        """A wanted runner's, by its table in config.toml."""
        tls = {variable: str(table.get(key, "")) for variable, key in TLS_FILES.items()}
        return cls(index, str(table["name"]), str(table["url"]), token, tls)


@dataclass(frozen=True)
class Answer:
    """What GitLab answered about a token.

    Attributes:
        identity: what GitLab issued, empty where it takes no such token or was silent.
        refused: whether GitLab refuses the token.
        message: the runner's own words where it failed.
    """

    identity: Data = field(default_factory=dict, repr=False)
    refused: bool = False
    message: str = ""

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Answer:
        """One of the answers of `runner_config_io`."""
        if answer["ok"]:
            return cls(identity=_runner_toml.parse(decode(str(answer["text"])))["runners"][0])
        return cls(refused=bool(answer["refused"]), message=str(answer["said"]))


@dataclass(frozen=True)
class Woken:
    """What came of runners that the daemon leaves alone.

    Attributes:
        verified: what GitLab said of each: valid, refused or unanswered.
        reasons: why it gave no answer, by name.
        names: those that the daemon takes up again.
    """

    verified: Mapping[str, str]
    reasons: Mapping[str, str]
    names: Sequence[str]


@dataclass(frozen=True)
class Swapped:
    """What came of a swap.

    Attributes:
        done: whether the file was still the one that had been read.
        verified: what GitLab said of the runners that it was asked about.
        file: what the host has now.
    """

    done: bool
    verified: dict[str, str]
    file: HostFile


class ConfigIO:
    """The calls of `runner_config_io` and `host_info` for one service's config.toml.

    Args:
        ask: sends one call's arguments to the host and returns its answer.
    """

    def __init__(self, ask: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        self._ask = ask

    def read(self, *, other_runners: bool = False) -> HostFile:
        """The host's file."""
        arguments: dict[str, Any] = {"op": READ}
        if other_runners:
            arguments["other_runners"] = True
        return HostFile.from_answer(self._ask(arguments)["read"])

    def register(self, requests: Sequence[Request]) -> tuple[dict[int, Answer], HostFile]:
        """GitLab's answers, and the host's file as it is after them."""
        answer = self._ask(
            {
                "op": "register",
                "requests": [
                    {"index": one.index, "url": one.url, "name": one.name, "tls": dict(one.tls)}
                    for one in requests
                ],
                # Apart: every value of a no_log option is cut out of the answer.
                "tokens": [one.token for one in requests],
            }
        )
        answers = {
            one.index: Answer.from_answer(answer["answers"][str(one.index)]) for one in requests
        }
        return answers, HostFile.from_answer(answer["read"])

    def wake(self, names: Sequence[str]) -> Woken:
        """Has the daemon take up those of the runners again that GitLab calls valid."""
        answer = self._ask({"op": "wake", "verify": list(names)})
        return Woken(answer["verified"], answer["reasons"], answer["woken"])

    def swap(
        self,
        expected: str,
        text: str,
        *,
        state: str = "",
        paused: str = "",
        verify: Sequence[str] = (),
        checked_state: str = "",
    ) -> Swapped:
        """Writes the new texts if config.toml is still the one that was read.

        Args:
            expected: that one's digest.
            text: the new config.toml, empty to leave it as it is.
            state: the new state file, empty to leave it as it is.
            paused: the configuration for a full disk, empty to leave it as it is.
            verify: names of runners to ask GitLab about then.
            checked_state: the state file once GitLab has called all of them valid.
        """
        answer = self._ask(
            {
                "op": "swap",
                "expected": expected,
                "text": encode(text),
                "state_text": encode(state),
                "paused_text": encode(paused),
                "verify": list(verify),
                "checked_text": encode(checked_state),
            }
        )
        return Swapped(
            bool(answer["swapped"]),
            dict(answer.get("verified", {})),
            HostFile.from_answer(answer["read"]),
        )


def encode(text: str) -> str:
    """A text as the host's side takes it."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def decode(text: str) -> str:
    """A text as the host's side gives it."""
    return bytes.fromhex(text).decode("utf-8", "surrogateescape")


def invalid_toml(folder: str, error: _runner_toml.TomlError) -> str:
    """That the host's config.toml cannot be read."""
    return f"{folder}/config.toml on the host is not valid TOML ({error}); correct it first"


def without_runners(config: Data) -> str:
    """The configuration without its runners: the daemon takes no new job, and goes on with its own.

    What a drain and a full disk put in config.toml's place.
    """
    head = "# The runner is paused; its runners are in the file beside this one.\n"
    return head + _runner_toml.dump({key: config[key] for key in config if key != "runners"})


def gitlab_environment(ours: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """What of the service's environment, ours and the user's, decides how GitLab is reached."""
    environment = _network.with_given(dict(ours), dict(given))
    names = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir")
    return {str(k): str(v) for k, v in environment.items() if str(k).lower() in names}


def seconds(moment: object) -> float | None:
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
