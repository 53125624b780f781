# SPDX-License-Identifier: GPL-3.0-or-later
"""What maintainers of the project run. Needs nothing of the lab."""
