"""Scores, intervals, comparisons, and what files give away."""
