"""Which master key tuple a segment is for."""
