"""Batches on their way through all stages, and one packet alone."""
