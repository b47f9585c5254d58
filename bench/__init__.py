"""Benchmarks: what a request costs, measured beside floors and peers in one run. Never a test."""
