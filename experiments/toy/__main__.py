"""`python -m experiments.toy`."""

from experiments.toy.run import main

if __name__ == "__main__":
  main()
