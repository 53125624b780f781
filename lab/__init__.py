# SPDX-License-Identifier: GPL-3.0-or-later
"""The world around a runner host, on one machine."""
