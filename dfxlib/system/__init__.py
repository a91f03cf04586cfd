"""The machine: whole files, locks, processes, GPUs, stopping."""
