"""Evaluation: a model's accuracy on held-out prompts of the toy world, and the reports on it."""
