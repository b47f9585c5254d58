"""Runs the providers service."""

from services.chassis.run import run
from services.providers.bootstrap import app

if __name__ == "__main__":
    run(app)
