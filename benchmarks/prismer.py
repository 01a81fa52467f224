"""What Prismer's training step and decoding cost, also beside PyTorch's `transformers`.

Command: `python -m benchmarks.prismer --rounds 3`. PrismerZ at the size `base`, 224 pixels, two
images with texts of 30 words: a step of training with both backbones frozen. PyTorch's model takes
part where `torch` and `transformers` are installed: CLIP's tower and RoBERTa with cross-attention
and adaptors, of the same widths and frozen alike (its adaptors follow the blocks, and it keeps the
class token). Then texts by the best word each time, with keys and values kept and without, and by
beams. `--experts` puts the six experts' labels into the step. Prints Markdown tables: milliseconds,
ratios, GFLOP by the compiler's count, memory; and which share of the FLOP/s of one large product of
matrices, timed in turn with them, a step reaches. Goals: a step at most 1.0 of PyTorch's.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks.accelerator.measure import Program, timed
from benchmarks.accelerator.table import table
from jaxmtl import losses, training
from jaxmtl.models import prismer

_SIDE = 2048
_PRODUCT = f"a product of {_SIDE}x{_SIDE}"


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    size: of the model; tiny for a trial.
    batch: images a step.
    length: words of a text in training.
    max_length: words of a text that is made, with its prompt of four.
    freeze: what is not trained, as in `prismer.trainable`.
    experts: whether experts' labels are part of the step.
    precision: of the computation.
    remat: whether blocks are computed again in the backward pass.
    parts: what to time.
    rounds: timed rounds.
    threads: programs that compile at a time; PyTorch's threads are its default.
  """

  size: Literal["tiny", "base", "large"] = "base"
  batch: int = 2
  length: int = 30
  max_length: int = 20
  freeze: str = "freeze_lang_vision"
  experts: bool = False
  precision: Literal["float32", "bfloat16"] = "float32"
  remat: bool = False
  parts: tuple[Literal["step", "decoding"], ...] = ("step", "decoding")
  rounds: int = 3
  threads: int = 1


def model_of(config: Config) -> prismer.Prismer:
  """The network."""
  dtype = None if config.precision == "float32" else jnp.dtype(config.precision)
  options: dict[str, Any] = {"dtype": dtype, "remat": config.remat}
  if not config.experts:
    options["experts"] = {}
  return prismer.Prismer(getattr(prismer.Config, config.size)(**options))


def batch_of(config: Config, sizes: prismer.Config) -> dict[str, Any]:
  """Images, labels of experts and texts, at random."""
  rng = np.random.default_rng(0)
  side = (config.batch, sizes.image_size, sizes.image_size)
  experts: dict[str, Any] = {"rgb": rng.normal(size=(*side, 3)).astype(np.float32)}
  for name, channels in sizes.experts.items():
    experts[name] = rng.normal(size=(*side, channels)).astype(np.float32)
  if "obj_detection" in experts:
    experts["obj_instance"] = rng.integers(0, 8, side)
  length = min(config.length, sizes.max_length)
  ids = rng.integers(3, sizes.vocab_size, (config.batch, length)).astype(np.int32)
  return {"experts": experts, "ids": ids, "mask": np.ones_like(ids), "labels": ids}


def variables_of(model: prismer.Prismer, batch: dict[str, Any]) -> Any:
  """First values."""
  return jax.jit(model.init)(jax.random.key(0), batch["experts"], batch["ids"], batch["mask"])


def step(config: Config) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
  """The update, the first state and a batch: a caption's loss, by AdamW on what is trained."""
  model = model_of(config)
  batch = batch_of(config, model.config)
  variables = dict(variables_of(model, batch))
  trained = prismer.trainable(variables, config.freeze)
  optimizer = optax.partition({True: optax.adamw(3e-4), False: optax.set_to_zero()}, trained)

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    logits, moved = model.apply(
      {"params": prismer.stop_frozen(params, trained), **model_state},
      *(batch["experts"], batch["ids"], batch["mask"]),
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": key, "instances": jax.random.fold_in(key, 1)},
    )
    loss = losses.token_cross_entropy(logits, batch["labels"]).mean()
    return loss[None], training.Aux({**model_state, **moved})

  made = training.train_step(losses_fn, optimizer, 1)
  state = made.init(variables.pop("params"), jax.random.key(1), variables)
  return made.update, state, batch


def transformers_step(config: Config) -> Callable[[], None] | None:
  """The same in PyTorch, or None where its packages are not installed."""
  try:
    import torch
    import transformers
    from transformers.models.roberta.modeling_roberta import RobertaLayer
  except ImportError:
    return None
  sizes = model_of(config).config
  torch.manual_seed(0)
  tower = transformers.CLIPVisionModel(
    transformers.CLIPVisionConfig(
      hidden_size=sizes.vision_width,
      intermediate_size=4 * sizes.vision_width,
      num_hidden_layers=sizes.vision_layers,
      num_attention_heads=sizes.vision_heads,
      image_size=sizes.image_size,
      patch_size=sizes.patch_size,
    )
  )
  words: dict[str, Any] = {
    "vocab_size": sizes.vocab_size,
    "hidden_size": sizes.text_width,
    "num_hidden_layers": sizes.text_layers,
    "num_attention_heads": sizes.text_heads,
    "intermediate_size": sizes.text_mlp_width,
    "max_position_embeddings": sizes.max_positions,
    "type_vocab_size": 1,
    "is_decoder": True,
  }
  decoder = transformers.RobertaForCausalLM(
    transformers.RobertaConfig(**words, add_cross_attention=True)
  )
  last = RobertaLayer(transformers.RobertaConfig(**words, attn_implementation="sdpa"))

  class Adaptor(torch.nn.Module):
    def __init__(self, width: int) -> None:
      super().__init__()
      self.norm = torch.nn.LayerNorm(width)
      self.down, self.up = torch.nn.Linear(width, width), torch.nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
      return x + self.up(torch.relu(self.down(self.norm(x))) ** 2)

  modules = [tower, decoder, last]
  for blocks, width in (
    (getattr(tower, "vision_model", tower).encoder.layers, sizes.vision_width),
    (decoder.roberta.encoder.layer, sizes.text_width),
  ):
    for block in blocks:
      adaptor = Adaptor(width)
      modules.append(adaptor)
      block.register_forward_hook(
        lambda _, __, out, a=adaptor: (a(out[0]), *out[1:]) if isinstance(out, tuple) else a(out)
      )
      if config.freeze == "freeze_lang_vision":
        for name, parameter in block.named_parameters():
          parameter.requires_grad_("crossattention" in name)
  trained = [p for module in modules for p in module.parameters() if p.requires_grad]
  optimizer = torch.optim.AdamW(trained, lr=3e-4)
  batch = batch_of(config, sizes)
  image = torch.from_numpy(np.moveaxis(batch["experts"]["rgb"], -1, 1).copy())
  ids = torch.from_numpy(batch["ids"].astype(np.int64))

  def call() -> None:
    tokens = tower(pixel_values=image).last_hidden_state
    hidden = decoder.roberta(input_ids=ids, encoder_hidden_states=tokens).last_hidden_state
    causal = torch.full((ids.shape[1],) * 2, torch.finfo(hidden.dtype).min).triu(1)[None, None]
    hidden = last(hidden, attention_mask=causal)
    logits = decoder.lm_head(hidden[0] if isinstance(hidden, tuple) else hidden)
    loss = torch.nn.functional.cross_entropy(
      logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=0.1, reduction="sum"
    )
    optimizer.zero_grad()
    (loss / len(ids)).backward()
    optimizer.step()

  return call


def decoding(config: Config) -> dict[str, Callable[[], Program]]:
  """Programs that make texts, each of `max_length` words."""
  model = model_of(config)
  batch = batch_of(config, model.config)
  variables = variables_of(model, batch)
  tokens = jax.jit(lambda v, x: model.apply(v, x, method="encode"))(variables, batch["experts"])
  prompt, length = batch["ids"][:, :4], config.max_length
  whole = {"max_length": length, "min_length": length}  # so that no text ends before

  def kept(tokens: Any, variables: Any, beams: int) -> Any:
    mask = jnp.ones_like(prompt)
    return prismer.generate(model, variables, tokens, prompt, mask, num_beams=beams, **whole)

  def again(tokens: Any, variables: Any) -> Any:
    """All words so far are read again for each next one."""
    first = jnp.full((config.batch, length), model.config.pad_token, jnp.int32)
    first = first.at[:, :4].set(prompt)

    def one(place: Any, ids: Any) -> Any:
      mask = jnp.broadcast_to(jnp.arange(length) < place, ids.shape)
      logits = model.apply(variables, ids, mask, tokens, method="decode")
      scores = jax.lax.dynamic_index_in_dim(logits, place - 1, 1, keepdims=False)
      scores = scores.at[:, model.config.end_token].set(-jnp.inf)
      return ids.at[:, place].set(scores.argmax(-1).astype(jnp.int32))

    return jax.lax.fori_loop(4, length, one, first)

  def program(fn: Callable[..., Any]) -> Callable[[], Program]:
    return lambda: Program(fn, tokens, (variables,), chained=False)

  return {
    "kept, best word": program(functools.partial(kept, beams=1)),
    "read again, best word": program(again),
    "kept, three beams": program(functools.partial(kept, beams=3)),
  }


def main(config: Config) -> None:
  """Time every program in turn and print Markdown tables."""
  print(f"{jax.default_backend()}, jax {jax.__version__}, {config.size}, {config.precision}")
  if "step" in config.parts:

    def ours() -> Program:
      update, state, batch = step(config)
      return Program(update, state, (batch,))

    def product() -> Program:
      matrix = jnp.ones((_SIDE, _SIDE), config.precision)
      return Program(lambda a, b: a @ b, matrix, (matrix,), chained=False)

    call = None if config.experts else transformers_step(config)
    others = {} if call is None else {"transformers": call}
    plain = next(iter(others), "jaxmtl")
    makers = {"jaxmtl": ours, _PRODUCT: product}
    rows = timed(makers, config.rounds, config.threads, plain=plain, others=others)
    print(f"\nA training step, {config.freeze}\n\n{table(rows)}")
    speeds = {row["program"]: row["flops"] / row["seconds"] for row in rows if "flops" in row}
    if {"jaxmtl", _PRODUCT} <= set(speeds):
      share = speeds["jaxmtl"] / speeds[_PRODUCT]
      print(f"jaxmtl: {share:.0%} of the FLOP/s of a product of matrices")
  if "decoding" in config.parts:
    rows = timed(decoding(config), config.rounds, config.threads, plain="read again, best word")
    print(f"\nTexts of {config.max_length} words, of which 4 are given\n\n{table(rows)}")
    for row in rows:
      if "seconds" in row:
        made = config.batch * (config.max_length - 4)
        print(f"{row['program']}: {made / row['seconds']:.0f} words a second")


if __name__ == "__main__":
  main(tyro.cli(Config))
