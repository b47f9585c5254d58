"""The whole road under load, beside a bare gRPC echo and beside other gateways, on one mock upstream."""
