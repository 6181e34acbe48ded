"""Benchmarks through the real code path: flows, own processes, gRPC over mutual TLS on loopback."""
