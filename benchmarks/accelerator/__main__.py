"""Measures part after part until the time is over."""

import json
import time
from typing import Any

import jax
import tyro

import jaxmtl
from benchmarks.accelerator.config import PARTS, Config
from benchmarks.accelerator.parts import PARTS as GROUPS
from benchmarks.accelerator.table import table


def main(config: Config) -> None:
  """Print a table a group, and write all rows to the JSON file after each."""
  if unknown := sorted(set(config.parts) - set(PARTS)):
    raise SystemExit(f"--parts {', '.join(unknown)}: unknown; known ones: {', '.join(PARTS)}.")
  begin = time.perf_counter()
  device = jax.devices()[0]
  head = {
    "device": device.device_kind,
    "platform": device.platform,
    "jax": jax.__version__,
    "jaxmtl": jaxmtl.__version__,
    "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
  }
  print(", ".join(f"{name} {value}" for name, value in head.items()), flush=True)
  found: list[dict[str, Any]] = []
  left: list[str] = []
  for part in config.parts:
    for title, run in GROUPS[part](config):
      start = time.perf_counter()
      if start - begin > 60 * config.minutes:
        left.append(title)
        continue
      try:
        rows = run()
      except Exception as error:  # the next group may well work
        rows = [{"program": "all", "failure": f"{type(error).__name__}: {error}"[:300]}]
      took = time.perf_counter() - start
      found.append({"part": part, "title": title, "took": took, "rows": rows})
      config.out.write_text(json.dumps(head | {"groups": found, "left": left}, indent=1))
      print(f"\n{title} ({took:.0f} s)\n" + table(rows), flush=True)
  config.out.write_text(json.dumps(head | {"groups": found, "left": left}, indent=1))
  if left:
    print("\nNo time was left for: " + "; ".join(left))


if __name__ == "__main__":
  main(tyro.cli(Config))
