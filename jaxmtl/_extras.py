"""Packages beyond the core, imported when they are first used."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


def require(module: str, extra: str, user: str) -> ModuleType:
  """Imports a package that an extra installs, or says how to get it.

  Args:
    module: to import.
    extra: of `pip install 'jaxmtl[extra]'`.
    user: the module that needs it.

  Raises:
    ImportError: if it is not installed.

  Example:
    >>> from jaxmtl._extras import require
    >>> require("no_such_package", "plots", "jaxmtl.plots")
    Traceback (most recent call last):
    ImportError: jaxmtl.plots needs no_such_package: pip install 'jaxmtl[plots]'
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    missing = error.name or module
    if missing.split(".")[0] != module.split(".")[0]:
      raise  # the package is there, and something of its own is not
    raise ImportError(f"{user} needs {missing}: pip install 'jaxmtl[{extra}]'") from None


class Optional:
  """A module that is imported at the first look at one of its names."""

  def __init__(self, module: str, extra: str, user: str):
    """Takes what `require` takes."""
    self._asked = module, extra, user

  def __getattr__(self, name: str) -> Any:
    return getattr(require(*self._asked), name)
