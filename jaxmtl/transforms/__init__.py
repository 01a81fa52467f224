"""What stands around weightings and aggregators in a chain."""

from jaxmtl.transforms.accumulate import AccumulateState as AccumulateState
from jaxmtl.transforms.accumulate import accumulate as accumulate
from jaxmtl.transforms.chain import chain as chain
from jaxmtl.transforms.heads_apart import heads_apart as heads_apart
from jaxmtl.transforms.per_task import per_task as per_task
from jaxmtl.transforms.skip import SkipState as SkipState
from jaxmtl.transforms.skip import skip_if as skip_if
from jaxmtl.transforms.skip import skip_nonfinite as skip_nonfinite

__all__ = ["accumulate", "chain", "heads_apart", "per_task", "skip_if", "skip_nonfinite"]
