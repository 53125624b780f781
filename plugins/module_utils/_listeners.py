# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a daemon can listen on an address of the host.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import socket

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _no_answer


def problem(address: str) -> str:
    """Why a runner's daemon cannot listen on ``HOST:PORT``; empty where one does already."""
    host, __, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            # Those of names are below zero.
            named = (error.errno or 0) < 0
            why = _no_answer.UNKNOWN_NAME if named else os.strerror(error.errno or 0)
            return f"cannot be listened on: {why}"
        names = listening(int(port))
        if "gitlab-runner" in names:
            return ""
        return f"is in use{f' by {names[0]}' if names else ''}"
    return ""


def listening(port: int) -> list[str]:
    """The programs that listen on a port, by name (proc(5))."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _files.read_text(table).splitlines()[1:] if os.path.exists(table) else ():
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{words[9]}]")
    names = []
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) in sockets:
                names.append(_files.read_text(f"/proc/{link.split('/')[2]}/comm").strip())
    return names
