"""What is different between two configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "nothing"
_MISSING = object()


def differences(
  saved: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
  """Values that differ, saved and wanted, by name; `method.swap` for one of a group.

  Args:
    saved: of before.
    wanted: of now.
    defaults: values that a side without them is taken to have: of options that came later, or went.

  Example:
    >>> from jaxmtl.training.differences import differences
    >>> differences({"rate": 0.1}, {"rate": 0.2, "new": 0}, {"new": 0})
    {'rate': (0.1, 0.2)}
  """
  defaults, found = defaults or {}, dict[str, tuple[Any, Any]]()
  for name in dict.fromkeys([*saved, *wanted]):
    usual = defaults.get(name, _MISSING)
    old, new = saved.get(name, usual), wanted.get(name, usual)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
      inner = differences(old, new, usual if isinstance(usual, Mapping) else None)
      found |= {f"{name}.{key}": pair for key, pair in inner.items()}
    elif old != new:
      found[name] = (
        NOTHING if old is _MISSING else old,
        NOTHING if new is _MISSING else new,
      )
  return found
