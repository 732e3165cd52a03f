"""Packets of other libraries, as they have them."""
