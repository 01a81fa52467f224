"""Figures of experiments.

Every function returns the Matplotlib figure, and writes it to a file where it is given a path. All
take what training really gives: one seed or several, one epoch or many, numbers that are not
finite, long names.

To keep a colour for one thing throughout a folder, make a `palette` of everything that the folder
will ever show, and give it to each function as `colors`. A figure of one's own takes its looks from
the same palette (`looks`), its panels from `panel_grid`, and is written by `finish`.
"""

from jaxmtl._extras import require

require("matplotlib", "plots", __name__)

from jaxmtl.plots._page import finish
from jaxmtl.plots.colors import COLORS, DATA_COLORS, Look, looks, palette
from jaxmtl.plots.curves import plot_curves
from jaxmtl.plots.embeddings import plot_embeddings
from jaxmtl.plots.heat_maps import plot_heat_map, plot_levels
from jaxmtl.plots.maps import Maps, plot_maps
from jaxmtl.plots.panels import panel_grid, plot_panels
from jaxmtl.plots.pictures import plot_image_groups, plot_labels
from jaxmtl.plots.trade_off import plot_trade_off

__all__ = [
  "COLORS",
  "DATA_COLORS",
  "Look",
  "Maps",
  "finish",
  "looks",
  "palette",
  "panel_grid",
  "plot_curves",
  "plot_embeddings",
  "plot_heat_map",
  "plot_image_groups",
  "plot_labels",
  "plot_levels",
  "plot_maps",
  "plot_panels",
  "plot_trade_off",
]
