"""`python -m experiments.maxl`."""

from experiments.maxl.run import main

if __name__ == "__main__":
  main()
