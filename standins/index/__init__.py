# SPDX-License-Identifier: GPL-3.0-or-later
"""A package index: PyPI's rules of upload and those of GitLab's registry, in their words.

What is refused, and how that is said, is in refusals.toml, each with its source. The index is a
server of the standard library: twine shows an index's words by the reason phrase of the status
line, which no ASGI server sends.
"""
