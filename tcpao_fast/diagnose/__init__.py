"""Why segments are not good: hypotheses, tried on a few segments of each connection."""
