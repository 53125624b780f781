# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the command line; the executable file begins here too."""

from __future__ import annotations

import sys

from standins.gitlab_runner.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
