"""Observations with a known truth: for the demo, tests, benchmarks, and for people who try things out."""

from calibrant.simulate.observation import SimulationResult, simulate
from calibrant.simulate.truth import Truth, load_truth

__all__ = ["SimulationResult", "Truth", "load_truth", "simulate"]
