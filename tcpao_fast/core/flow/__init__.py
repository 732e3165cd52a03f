"""Whose segment it is: connections, traffic keys, sequence number extensions, verdicts."""
