"""Evaluation: everything recomputed from the predictions of a run."""
