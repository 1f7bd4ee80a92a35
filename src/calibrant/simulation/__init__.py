"""Observations with a known truth: for the demo, tests, benchmarks, and for people who try things out."""

from calibrant.simulation.observation import SimulationResult, simulate
from calibrant.simulation.truth import Truth, load_truth

__all__ = ["SimulationResult", "Truth", "load_truth", "simulate"]
