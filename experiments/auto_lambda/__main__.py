"""`python -m experiments.auto_lambda`."""

from experiments.auto_lambda.run import main

if __name__ == "__main__":
  main()
