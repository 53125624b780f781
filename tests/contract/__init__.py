"""Contract tests: the stand-in for gitlab-runner and the real one must pass the same ones."""
