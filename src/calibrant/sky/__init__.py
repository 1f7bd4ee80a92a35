"""What calibrators look like: flux standards, source models, predicted visibilities."""
