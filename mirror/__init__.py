# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror of one's own: dated, signed snapshots of the packages that runner hosts need."""
