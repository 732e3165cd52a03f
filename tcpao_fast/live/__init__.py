"""Live traffic: packets of interfaces and of the kernel's queues, sessions, events, metrics."""
