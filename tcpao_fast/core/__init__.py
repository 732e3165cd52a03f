"""The compiled core: from `wire` through `keys`, `mac` and `flow`; `batch` drives packets along."""
