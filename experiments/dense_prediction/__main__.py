"""`python -m experiments.dense_prediction`."""

from experiments.dense_prediction.run import main

if __name__ == "__main__":
  main()
