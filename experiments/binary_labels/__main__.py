"""`python -m experiments.binary_labels`."""

from experiments.binary_labels.run import main

if __name__ == "__main__":
  main()
