"""`python -m experiments.dgr`."""

from experiments.dgr.run import main

if __name__ == "__main__":
  main()
