"""Prismer: vision-language reasoning with experts, in parts.

`Config` says what it is made of, `Prismer` is the network, `trainable` which of it learns;
`convert` and `from_backbones` give it published weights, `generate` and `rank` use it.
"""

from jaxmtl.models.prismer.attention_maps import expert_attention
from jaxmtl.models.prismer.backbones import from_backbones
from jaxmtl.models.prismer.config import EXPERTS, Config
from jaxmtl.models.prismer.convert import convert, to_published
from jaxmtl.models.prismer.experts import fixed_rows, instance_rows
from jaxmtl.models.prismer.freezing import stop_frozen, trainable
from jaxmtl.models.prismer.generation import generate
from jaxmtl.models.prismer.model import Prismer
from jaxmtl.models.prismer.ranking import rank

__all__ = [
  "EXPERTS",
  "Config",
  "Prismer",
  "convert",
  "expert_attention",
  "fixed_rows",
  "from_backbones",
  "generate",
  "instance_rows",
  "rank",
  "stop_frozen",
  "to_published",
  "trainable",
]
