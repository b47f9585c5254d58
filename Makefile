# Turnpike. `make run` shows it working, `make test` proves it.
.DEFAULT_GOAL := help
