"""Acquisition of calibration data with real devices: from a checked plan, safely, resumably.

One model for lamps and cameras, noise diodes and receivers, and all-sky snapshots: point, illuminate, configure,
capture, store. A *light* is anything switched on for a calibration; a *detector* is whatever captures a frame; an
*actuator* is what moves.
"""
