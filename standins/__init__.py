"""Stand-ins for GitLab and gitlab-runner, held to the real ones by tests/contract."""
