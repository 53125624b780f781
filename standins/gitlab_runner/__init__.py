"""What runs on the lab's hosts: the stand-in for gitlab-runner."""
