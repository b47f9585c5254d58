"""`python -m services.budget`."""

from services.budget.bootstrap import app
from services.chassis.run import run

if __name__ == "__main__":
    run(app)
