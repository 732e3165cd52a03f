"""Bytes and segments: files and buffers taken apart, packets rewritten."""
