"""Rows of figures as a Markdown table."""

from typing import Any


def table(rows: list[dict[str, Any]]) -> str:
  """A Markdown table of the columns that any row has."""
  columns = [
    ("program", "program", str),
    ("seconds", "ms", lambda v: f"{1000 * v:.3f}"),
    ("ratio", "ratio", lambda v: f"{v:.2f}"),
    ("over_the_bound", "over the bound", lambda v: f"{v:.1f}"),
    ("gigabytes_a_second", "GB/s", lambda v: f"{v:.0f}"),
    ("relative_error", "relative error", lambda v: f"{v:.0e}"),
    ("temporary_bytes", "temporary MB", lambda v: f"{v / 1e6:.0f}"),
    ("bytes_accessed", "moved GB", lambda v: f"{v / 1e9:.2f}"),
    ("argument_bytes", "state and batch MB", lambda v: f"{v / 1e6:.0f}"),
    ("collective_bytes", "collectives MB", lambda v: f"{v / 1e6:.0f}"),
    ("flops", "GFLOP", lambda v: f"{v / 1e9:.1f}"),
    ("compile_seconds", "compile s", lambda v: f"{v:.0f}"),
    ("bytes_an_image", "MB an image", lambda v: f"{v / 1e6:.2f}"),
    ("largest_batch", "largest batch", str),
    ("failure", "failure", str),
  ]
  shown = [c for c in columns if any(c[0] in row for row in rows)]
  lines = ["| " + " | ".join(title for _, title, _ in shown) + " |", "|" + " --- |" * len(shown)]
  for row in rows:
    cells = [form(row[key]) if row.get(key) is not None else "" for key, _, form in shown]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)
