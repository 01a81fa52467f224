"""Regularisation of shared encoders: DGR, and what its paper compares it with."""

from jaxmtl.regularization.dgr import dgr
from jaxmtl.regularization.dummies import dummy_heads
from jaxmtl.regularization.pseudo_task import pta
from jaxmtl.regularization.sam import sam
from jaxmtl.regularization.universality import universality

__all__ = ["dgr", "dummy_heads", "pta", "sam", "universality"]
