"""Prismer's checkpoints: every tensor accounted for, there and back; published backbones."""

import jax
import jax.numpy as jnp
import numpy as np
import prismer_goldens as goldens
import pytest
from safetensors.numpy import save_file

from jaxmtl.models import prismer

TINY = prismer.Config.tiny()
STATE = goldens.STATE
WORDS = "text_decoder.roberta.embeddings.word_embeddings.weight"


def same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_there_and_back(tmp_path):
  variables = prismer.convert(STATE, TINY)
  state = prismer.to_published(variables)
  for name, value in STATE.items():
    np.testing.assert_array_equal(state[name], value)
  new = set(state) - set(STATE)
  copies = ("lm_head.decoder.weight", "lm_head.decoder.bias", "position_ids")
  assert all(name.endswith((*copies, "num_batches_tracked")) for name in new)
  assert len(new) == 3 + 3 * 4
  save_file(state, tmp_path / "model.safetensors")
  same(prismer.convert(tmp_path / "model.safetensors", TINY), variables)


def test_half_precision_becomes_single():
  half = {name: value.astype(jnp.bfloat16) for name, value in STATE.items()}
  variables = prismer.convert(half, TINY)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  ("changed", "names"),
  [
    ({"expert_encoder.ln_post.bias": None, WORDS: None}, ["missing tensors: ", WORDS, "ln_post"]),
    ({"expert_encoder.proj": np.ones(2)}, ["without a place: expert_encoder.proj"]),
    ({"expert_encoder.conv1.edge.2.num_batches_tracked": np.ones(())}, ["conv1.edge.2"]),
    ({WORDS: STATE[WORDS][:-1]}, ["another shape", f"{WORDS} (59, 32), needed (60, 32)"]),
    ({"expert_encoder.positional_embedding": np.ones((15, 32))}, ["(15, 32), needed (16, 32)"]),
    ({"text_decoder.lm_head.decoder.weight": STATE[WORDS] + 1}, ["decoder.weight must equal"]),
  ],
)
def test_what_does_not_fit_is_named(changed, names):
  state = {name: value for name, value in (STATE | changed).items() if value is not None}
  with pytest.raises(ValueError, match="the checkpoint") as error:
    prismer.convert(state, TINY)
  assert all(name in str(error.value) for name in names)


def backbones():
  """CLIP by OpenAI's names and RoBERTa, out of the tiny model."""
  clip, roberta = {}, {}
  for name, value in STATE.items():
    part, _, inner = name.partition(".")
    words = inner.split(".")
    if "adaptor" in name or "output_layer" in name or ".1.self." in name or ".1.output." in name:
      continue
    if part == "text_decoder":
      if words[:3] == ["roberta", "encoder", "layer"]:
        del words[4]
      roberta[".".join(words)] = value
    elif words[0] == "transformer":
      del words[3]
      clip["visual." + ".".join(words)] = value
    elif words[0] in ("ln_pre", "ln_post", "positional_embedding") or words[1:2] == ["rgb"]:
      clip["visual." + inner.replace("conv1.rgb", "conv1")] = value
  table = clip["visual.positional_embedding"]
  clip["visual.positional_embedding"] = np.concatenate([np.ones((1, 32), np.float32), table])
  clip |= {"visual.class_embedding": np.ones(32), "visual.proj": np.ones((32, 8))}
  return clip | {"logit_scale": np.zeros(())}, roberta | {"roberta.pooler.dense.bias": np.ones(32)}


def hugging_face(clip):
  """The same by Hugging Face's names."""
  pairs = [
    *(("visual.class_embedding", "embeddings.class_embedding"), ("visual.proj", "")),
    *(("visual.conv1", "embeddings.patch_embedding"), ("visual.ln_post", "post_layernorm")),
    ("visual.positional_embedding", "embeddings.position_embedding.weight"),
    *(("visual.ln_pre", "pre_layrnorm"), ("visual.transformer.resblocks", "encoder.layers")),
    *((".attn.out_proj", ".self_attn.out_proj"), (".ln_", ".layer_norm")),
    *((".mlp.c_fc", ".mlp.fc1"), (".mlp.c_proj", ".mlp.fc2")),
  ]
  state = {"visual_projection.weight": np.ones((8, 32)), "text_model.x": np.ones(2)}
  for name, value in clip.items():
    if name in ("visual.proj", "logit_scale"):
      continue
    for old, new in pairs:
      name = name.replace(old, new)
    if ".attn.in_proj_" in name:
      kind = name.rpartition("_")[2]
      for part, third in zip("qkv", np.split(value, 3), strict=True):
        name = f"vision_model.{name.partition('.attn')[0]}.self_attn.{part}_proj.{kind}"
        state[name.replace("vision_model.vision_model", "vision_model")] = third
        name = name.removeprefix("vision_model.").partition(".self_attn")[0] + ".attn"
    else:
      state[f"vision_model.{name}"] = value
  return state


def test_backbones_by_both_names(x64):
  clip, roberta = backbones()
  config, key = prismer.Config.tiny(experts={}), jax.random.key(0)
  variables = prismer.from_backbones(clip, roberta, config, key)
  theirs = hugging_face(clip)
  same(prismer.from_backbones(theirs, roberta, config, key), variables)
  # Newer versions save the tower alone without its name.
  tower = {n.removeprefix("vision_model."): x for n, x in theirs.items() if "vision_model" in n}
  same(prismer.from_backbones(tower, roberta, config, key), variables)
  # What is not new is where a published checkpoint has it.
  state = prismer.to_published(variables)
  old = "text_decoder.roberta.encoder.layer.1.0.attention.self.key.weight"
  np.testing.assert_array_equal(state[old], STATE[old])
  new = "expert_encoder.transformer.resblocks.1.1.adaptor.up_proj.weight"
  assert 0 < np.abs(state[new]).max() < 0.01


def test_backbones_that_do_not_fit():
  clip, roberta = backbones()
  config, key = prismer.Config.tiny(experts={}), jax.random.key(0)
  del clip["visual.ln_post.weight"]
  with pytest.raises(ValueError, match=r"clip .*missing tensors: visual\.ln_post\.weight$"):
    prismer.from_backbones(clip, roberta, config, key)
  clip["visual.ln_post.weight"] = np.ones(32)
  layer = {"roberta.encoder.layer.2.output.dense.bias": np.ones(32)}
  with pytest.raises(ValueError, match=r"roberta .*without a place: roberta\.encoder\.layer\.2"):
    prismer.from_backbones(clip, roberta | layer, config, key)
