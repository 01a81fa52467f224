"""`python -m experiments.benchmark`."""

from experiments.benchmark.run import main

if __name__ == "__main__":
  main()
