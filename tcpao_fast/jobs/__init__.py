"""What a command does: captures in, results out."""
