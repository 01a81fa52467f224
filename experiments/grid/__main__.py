"""`python -m experiments.grid`."""

from experiments.grid.run import main

if __name__ == "__main__":
  main()
