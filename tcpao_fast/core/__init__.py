"""The compiled core: one module a stage, from `scan` to `verdict`."""
