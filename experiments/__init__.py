"""Experiments: one module a paper, each run with `python -m experiments.<name>`."""
