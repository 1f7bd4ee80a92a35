"""The main job and its parts: from an observation to calibrated data, solutions and a verdict."""
