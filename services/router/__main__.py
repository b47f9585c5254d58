"""`python -m services.router`."""

from services.chassis.run import run
from services.router.bootstrap import app

if __name__ == "__main__":
    run(app)
