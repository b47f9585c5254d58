"""`python -m services.analytics` runs the analytics service."""

from services.analytics.bootstrap import app
from services.chassis.run import run

if __name__ == "__main__":
    run(app)
