"""Benchmark results: what the suite in `bench/` measures with, and how its files are read."""
