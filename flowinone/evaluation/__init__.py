"""Judging what a model answers: made-up scenes, whose right answers are known."""
