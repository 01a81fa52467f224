"""`python -m experiments.reco`."""

from experiments.reco.run import main

if __name__ == "__main__":
  main()
