"""What maintainers of the project run. Needs nothing of the lab."""
