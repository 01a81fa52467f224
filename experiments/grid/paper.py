"""Published figures of the grid, of steel's published split at 224 px."""

# Best accuracy, MSE and MAPE of all models, each of another one, and minutes a model, by decoder.
BEST = {
  1: ["paper: best by column, decoder 1", "99.85", "59600", "-", "53.70", "-", "40.39 ± 23.71"],
  2: ["paper: best by column, decoder 2", "99.69", "-", "-", "54.20", "-", "43.10 ± 23.92"],
}
