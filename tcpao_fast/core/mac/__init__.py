"""Messages and their MACs: algorithms, kernels for each instruction set, batches."""
