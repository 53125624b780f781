# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for gitlab-runner with the shell executor: standard library, Python 3.11.

Same command line, config.toml, unit file, signals, wire format and quirks as gitlab-runner 19.3, as
far as a host's provisioning and its jobs touch them; with another VERSION, back to 17.4, those of
that one. Where it and the real program differ, it is wrong. Outside facts: GitLab Runner docs
(commands, advanced configuration, shells) and the source of gitlab-runner 19.3 (network/,
common/build.go, commands/multi.go).
Not there: other executors, submodules, LFS, distributed caches, sessions, feature flags, services
without systemd.

`standins.executable` makes one executable file of it. All modules are imported at the start: the
file may be another version's by the time that a daemon would look into it again.
"""
