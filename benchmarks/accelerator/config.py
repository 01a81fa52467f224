"""What to measure, and at which sizes."""

import dataclasses
import pathlib

PARTS = (
  "agreement",
  "steps",
  "dense",
  "contrast",
  "forms",
  "meta",
  "seeds",
  "aggregation",
  "peers",
  "deep",
  "batches",
)


@dataclasses.dataclass(frozen=True)
class Config:
  """What to measure.

  Args:
    minutes: no group starts later than this.
    out: JSON file, written after every group.
    parts: among agreement, steps, dense, contrast, forms, meta, seeds, aggregation, peers,
      deep, batches.
    tasks: numbers of tasks T of the MLP; other networks take the second of them.
    networks: of the steps and forms, among mlp, resnet18, vgg16, vit_b16, resnet50.
    dtypes: compute dtypes of the steps.
    methods: aggregators of the steps; those of convolutional networks and transformers are the
      first three.
    rounds: timed rounds.
    threads: programs that compile at a time.
    tiny: sizes for a CPU.
  """

  minutes: float = 8.0
  out: pathlib.Path = pathlib.Path("accelerator.json")
  parts: tuple[str, ...] = PARTS
  tasks: tuple[int, ...] = (3, 8, 20)
  networks: tuple[str, ...] = ("mlp", "resnet18", "vit_b16")
  dtypes: tuple[str, ...] = ("float32", "bfloat16")
  methods: tuple[str, ...] = ("pcgrad", "graddrop", "mgda", "cagrad", "upgrad", "nash_mtl")
  rounds: int = 7
  threads: int = 8
  tiny: bool = False
