# SPDX-License-Identifier: GPL-3.0-or-later
"""Why GitLab's API gives no answer, or one that is not GitLab's, in plain words.

Pure: the words of requests, urllib3 and OpenSSL in, the cause and what to do out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import (
    NEEDS_TLS,
    NO_TLS,
    NOTHING_ANSWERS,
    REFUSES,
    TOO_SLOW,
    UNKNOWN_NAME,
    UNTRUSTED,
)

# What a web server itself, or GitLab while it starts, says without JSON: it may be GitLab's.
_NOT_OF_AN_ADDRESS = (403, 429)
_NAME = ("Failed to resolve", "Name or service not known", "nodename nor servname")
_NOBODY = ("Connection refused", "No route to host", "Network is unreachable", "Host is down")
_SLOW = ("timed out", "Timeout")
_CLOSED = ("Connection aborted", "Connection reset", "RemoteDisconnected", "BadStatusLine")
_SAID_OF_CERTIFICATE = re.compile(r"certificate verify failed: (.*?)[.']* \(_ssl")


@dataclass(frozen=True)
class Place:
    """Where the inventory says how GitLab is reached.

    Attributes:
        url: GitLab's address.
        prefix: what the variables begin with, such as ``gitlab_project``.
        ca_certificate: the file of its CA; empty for what the controller trusts.
    """

    url: str
    prefix: str
    ca_certificate: str = ""

    @property
    def address(self) -> str:
        """The variable with the address."""
        return f"{self.prefix}_url"

    @property
    def authority(self) -> str:
        """The variable with the CA."""
        return f"{self.prefix}_api_ca_certificate"

    @property
    def proxy(self) -> str:
        """The variable with the proxy."""
        return f"{self.prefix}_api_proxy"

    def no_answer(self, error: str) -> str:
        """Why nothing answered; empty where the error's words are not known."""
        if "ProxyError" in error or "Unable to connect to proxy" in error:
            return self._proxy(error)
        if "CERTIFICATE_VERIFY_FAILED" in error:
            return self._certificate(error)
        if "no certificate or crl found" in error or "PEM lib" in error:
            return f"{self.authority}: {self.ca_certificate} holds no certificate in PEM format"
        for marks, said in (
            (("WRONG_VERSION_NUMBER", "wrong version number"), f"{NO_TLS} Correct {self.address}"),
            (_NAME, f"{UNKNOWN_NAME}; correct {self.address}, or set {self.proxy} if only a proxy "
                    "knows it"),
            (_NOBODY, f"{NOTHING_ANSWERS}; check the host and port in {self.address}, and that "
                      "GitLab runs"),
            (_SLOW, f"{TOO_SLOW}; check {self.address}, the firewalls in between, and whether "
                    f"this machine needs {self.proxy}"),
        ):  # fmt: skip
            if any(mark in error for mark in marks):
                return said
        if any(mark in error for mark in _CLOSED):
            if self.url.startswith("http://"):
                return f"it closes the connection; perhaps {NEEDS_TLS} Check {self.address}"
            return f"it closes the connection; check {self.address}, and GitLab's own log"
        return ""

    def _proxy(self, error: str) -> str:
        refusal = re.search(r"Tunnel connection failed: (\d+)", error)
        known = (
            (_NAME, UNKNOWN_NAME),
            (_NOBODY, NOTHING_ANSWERS),
            (_SLOW, TOO_SLOW),
            (("Tunnel connection failed: 407",), "it asks for a login"),
            (("Tunnel connection failed",), f"it answered {refusal[1] if refusal else 'no'}"),
            (("",), "it cannot be used"),
        )
        said = next(words for marks, words in known if any(mark in error for mark in marks))
        return (
            f"the proxy does not lead there: {said}; correct {self.proxy} (empty: https_proxy and "
            "no_proxy of this machine's environment)"
        )

    def _certificate(self, error: str) -> str:
        match = _SAID_OF_CERTIFICATE.search(error)
        words = match[1] if match else ""
        if "expired" in words:
            return "its certificate has expired, or is this machine's clock ahead?"
        if "not yet valid" in words:
            return "its certificate is not valid yet: is this machine's clock behind?"
        if "mismatch" in words or "not valid for" in words:
            return f"its certificate is for another name ({words}); correct {self.address}"
        why = f" ({words})" if words else ""
        if self.ca_certificate:
            return (
                f"{UNTRUSTED}{why}: {self.ca_certificate} does not hold the CA that has signed it; "
                f"correct {self.authority}"
            )
        return f"{UNTRUSTED}{why}: set {self.authority} to the file of your CA"

    def other(self, status: int, kind: str, body: str) -> str:
        """That an answer is not GitLab's; empty where it is, or may be.

        Args:
            status: of HTTP.
            kind: its Content-Type, without parameters.
            body: the answer.
        """
        if status >= 500 or status in _NOT_OF_AN_ADDRESS or is_gitlabs(body):
            return ""
        said = f"{self.url} does not answer as GitLab's API (HTTP {status}, {kind or 'no type'}): "
        if "plain HTTP request was sent to HTTPS port" in body:
            return f"{said}{NEEDS_TLS} Correct {self.address}"
        return (
            f"{said}set {self.address} to the address of GitLab, without the path of a group or "
            "project"
        )


def is_gitlabs(body: str) -> bool:
    """Whether the body of a refusal is that of GitLab's API (GitLab docs, REST API)."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and bool({"message", "error"} & set(found))


def without_words(status: int, kind: str) -> str:
    """What is said of a refusal that is no JSON: its page is of no use here."""
    why = f"{REFUSES}, or what stands before it does, " if status == 403 else "it answered "
    return f"{why}(HTTP {status}, {kind or 'no type'})"
