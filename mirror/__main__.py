# SPDX-License-Identifier: GPL-3.0-or-later
"""`make mirror`: the program that makes, lists and drops snapshots."""

from ansible_collections.runnerhost.toolkit.mirror.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
