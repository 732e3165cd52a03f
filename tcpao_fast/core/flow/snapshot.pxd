# Nothing of it is for other stages: `snapshot` and `restore` are called from Python.
