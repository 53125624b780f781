"""The lab's GitLab: the parts of its API that the toolkit and a runner use."""

from lab.gitlab.app import create_app
from lab.gitlab.settings import Settings

__all__ = ["Settings", "create_app"]
