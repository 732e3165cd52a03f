"""Capture files: read, write, verify, sign, strip.  The only part that opens files."""
