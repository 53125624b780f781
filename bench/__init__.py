"""Measured claims about the playbooks, each against its limit in the same run."""
