# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to GitLab: proxies, trust, retries."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import io
import json
import os
import re
import secrets
import shutil
import ssl
import time
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import Any

from standins.gitlab_runner.host import default_config_dir
from standins.gitlab_runner.log import log
from standins.gitlab_runner.times import go_duration_text
from standins.gitlab_runner.version import ARCH, NAME, VERSION

CLIENT_ERROR = -100
RETRIED = (408, 429, 500, 502, 503, 504)


@dataclass
class Answer:
    """An answer; ``status`` is CLIENT_ERROR for a bad URL and -1 for no usable answer."""

    status: int
    text: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ca_chain: str = ""


def proxy_credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    """The header for a proxy whose address has a login in it, as Go's net/http sends it."""
    if proxy.username is None:
        return {}
    given = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(given.encode()).decode()}


@functools.lru_cache(maxsize=8)
def tls_context(ca_text: str) -> ssl.SSLContext:
    """The system's trust and one more CA; read once, as the real one reads its pool at start."""
    context = ssl.create_default_context()
    if ca_text:
        context.load_verify_locations(cadata=ca_text)
    return context


class Network:
    """GitLab's API, for one entry of ``[[runners]]`` or what stands for it."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        self.url = re.sub(r"/ci$", "", url.rstrip("/"))
        self._ca_file = ca_file
        # Beside the default config.toml, wherever --config points.
        self._certs = os.path.join(default_config_dir(), "certs")
        self.last_update = ""

    def _ca(self) -> str:
        if self._ca_file:
            return self._ca_file
        host = urllib.parse.urlsplit(self.url).hostname or ""
        path = os.path.join(self._certs, f"{host}.crt")
        return path if os.path.exists(path) else ""

    def _connect(self, parts: urllib.parse.SplitResult, timeout: float) -> tuple[Any, str]:
        """Return a connection and the CA's text, which jobs get too."""
        host, ca_text = parts.hostname or "", ""
        proxies = urllib.request.getproxies()
        proxy = "" if urllib.request.proxy_bypass(parts.netloc) else proxies.get(parts.scheme, "")
        if parts.scheme == "https":
            if ca_file := self._ca():
                with open(ca_file, encoding="utf-8") as file:
                    ca_text = file.read()
            context = tls_context(ca_text)
            if proxy:
                via = urllib.parse.urlsplit(proxy)
                tunnel = http.client.HTTPSConnection(
                    via.hostname or "", via.port or 3128, timeout=timeout, context=context
                )
                tunnel.set_tunnel(host, parts.port or 443, proxy_credentials(via))
                return tunnel, ca_text
            direct = http.client.HTTPSConnection(
                host, parts.port or 443, timeout=timeout, context=context
            )
            return direct, ca_text
        if proxy:
            via = urllib.parse.urlsplit(proxy)
            return http.client.HTTPConnection(
                via.hostname or "", via.port or 3128, timeout=timeout
            ), ""
        return http.client.HTTPConnection(host, parts.port or 80, timeout=timeout), ""

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        sink: io.BufferedIOBase | None = None,
        timeout: float = 3600.0,
    ) -> Answer:
        """Send one request, without retries."""
        parts = urllib.parse.urlsplit(f"{self.url}/api/v4/{path}")
        if parts.scheme not in ("http", "https"):
            return Answer(CLIENT_ERROR, "only http or https scheme supported")
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            "User-Agent": f"{NAME} {VERSION} (stand-in; linux/{ARCH})",
            "X-Request-Id": uuid.uuid4().hex,
            **headers,
        }
        try:
            connection, ca_text = self._connect(parts, timeout)
        except (OSError, ssl.SSLError) as error:
            return Answer(-1, f"couldn't connect: {error}")
        try:
            connection.request(method, target, body=body, headers=headers)
            chain = ca_text or peer_chain(connection.sock)
            answer = connection.getresponse()
            if sink is not None and answer.status == 200:
                shutil.copyfileobj(answer, sink)
                content = b""
            else:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            where = urllib.parse.urlunsplit(parts._replace(query=""))
            return Answer(
                -1,
                f"execute JSON request: couldn't execute {method} against "
                f"{where}: {method} {where}: {error}",
            )
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if value := found.get("x-gitlab-last-update"):
            self.last_update = value
        parsed: dict[str, Any] = {}
        if found.get("content-type", "").split(";")[0] == "application/json" and content:
            with contextlib.suppress(ValueError):
                loaded = json.loads(content)
                parsed = loaded if isinstance(loaded, dict) else {}
        text = f"{answer.status} {http.client.responses.get(answer.status, '')}".strip()
        if answer.status >= 300:
            text = f"{method} {urllib.parse.urlunsplit(parts._replace(query=''))}: {text}"
            if message := parsed.get("message"):
                text += f" ({message})"
        return Answer(answer.status, text, parsed, found, chain)

    def json(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        wanted: int,
        headers: dict[str, str] | None = None,
        *,
        parse: bool = True,
    ) -> Answer:
        """Send a JSON request, with the real one's retries on overload and failure."""
        sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        delay = 0.1
        for attempt in range(5):
            answer = self.raw(method, path, json.dumps(body).encode(), sent)
            if answer.status not in RETRIED or attempt == 4:
                break
            wait = delay * (0.5 + secrets.randbelow(1000) / 2000)
            with contextlib.suppress(ValueError):
                wait = float(answer.headers.get("retry-after", wait))
            log.info(
                "Waiting before making the next call",
                duration=go_duration_text(round(wait, 3)),
                method=method,
                url=f"{self.url}/{path}",
            )
            time.sleep(wait)
            delay = min(delay * 2, 60.0)
        kind = answer.headers.get("content-type", "").split(";")[0]
        if answer.status == wanted and parse and kind != "application/json":
            return Answer(-1, f"response is not application/json: {kind}")
        return answer


def peer_chain(sock: object) -> str:
    """Return the verified chain of a TLS connection as PEM, which jobs get as their CA."""
    inner = getattr(sock, "_sslobj", None)
    if inner is None or not hasattr(inner, "get_verified_chain"):
        return ""
    # Public only from Python 3.13 on, there since 3.10.
    return "".join(certificate.public_bytes() for certificate in inner.get_verified_chain() or ())
