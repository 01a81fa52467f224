"""`python -m experiments.prismer`."""

from experiments.prismer.commands import main

if __name__ == "__main__":
  main()
