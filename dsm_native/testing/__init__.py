"""Deterministic simulation, recorded histories and consistency checkers for tests."""
