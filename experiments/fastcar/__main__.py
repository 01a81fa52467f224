"""`python -m experiments.fastcar`."""

from experiments.fastcar.run import main

if __name__ == "__main__":
  main()
