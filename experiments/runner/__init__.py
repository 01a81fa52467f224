"""What all experiments run on: a job is a problem, a method and a recipe; a runner runs it."""
