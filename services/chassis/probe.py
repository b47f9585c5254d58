"""Asks a service whether it serves: `python -m services.chassis.probe HOST:PORT [SERVICE]`.

Exits with 0 if grpc.health.v1 says SERVING, 1 if it says anything else or does not answer in time: what a container's
health check and a supervisor need, from the one image that has everything.
"""

import argparse
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0


def probe(address: str, service: str = "", timeout_s: float = TIMEOUT_S) -> str:
    """What the service at `address` says: `SERVING`, `NOT_SERVING`, …, or the gRPC status that came instead."""
    with grpc.insecure_channel(address) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its generated code has no types
            answer = stub.Check(request, timeout=timeout_s)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main() -> None:
    """Prints the answer and exits by it."""
    parser = argparse.ArgumentParser(prog="python -m services.chassis.probe", description=__doc__)
    parser.add_argument("address", help="host:port of the service")
    parser.add_argument(
        "service", nargs="?", default="", help="one service or component of it; empty: all of it"
    )
    options = parser.parse_args()
    answer = probe(options.address, options.service)
    print(answer)  # noqa: T201 - the answer to whoever asked
    sys.exit(0 if answer == "SERVING" else 1)


if __name__ == "__main__":
    main()
