"""Toy: every method on the two-objective problem of the CAGrad and Nash-MTL papers.

Two parameters, two losses whose gradients differ in size, conflict, and have steep valleys where
descent on one loss gets stuck. Five start points are trained together by Adam; the figure shows
the path of each method from each start, and the Pareto front.

  python -m experiments.toy                        # minutes on a CPU
  python -m experiments.toy --scale-first 0.1      # the Nash-MTL paper's scaling of the first loss
  python -m experiments.toy --offset 25            # positive losses: every method takes part

Writes under `--workdir`: config.json, results.json, results.md, trajectories.png and, in paths/,
the path of each method, `[starts, records + 1, 2]`; those of another configuration go into a folder
beside. The table is written anew after each method, the figure at the end. The same command goes on
after a stop; methods whose path is there are not run again.

References: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", 2021, appendix;
Navon et al., "Multi-Task Learning as a Bargaining Game", 2022.
"""
