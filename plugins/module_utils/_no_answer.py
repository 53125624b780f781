# SPDX-License-Identifier: GPL-3.0-or-later
"""Why an address gives no answer: the words that all messages share.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

UNKNOWN_NAME = "its host name is unknown"
NOTHING_ANSWERS = "nothing answers at its address"
UNTRUSTED = "its certificate is not trusted"
REFUSES = "it refuses access"
TOO_SLOW = "it does not answer in time"
NO_TLS = "its port does not speak TLS: http:// in place of https://?"
NEEDS_TLS = "its port speaks TLS: https:// in place of http://?"
PROXY_LOGIN = "the proxy asks for a login: network_access_proxy_login"
