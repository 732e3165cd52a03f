"""Reports: what was found, in a form for people."""
