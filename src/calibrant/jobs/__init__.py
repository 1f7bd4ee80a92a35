"""The whole jobs: everything that the floors below offer, behind one verb."""
