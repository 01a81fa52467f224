"""Prismer's backbones against those of the package transformers, small and of random weights.

Needs the extra `torch`.
"""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.numpy import save_file
from transformers.models.roberta.modeling_roberta import RobertaLayer

from jaxmtl.models import prismer

SIZES = {"vision_layers": 2, "text_layers": 2, "resampler_layers": 1, "experts": {}}
CONFIG = prismer.Config.tiny(**SIZES, image_size=24, dropout=0.0)
LAYER = "text_decoder.roberta.encoder.layer."


def randomised(net):
  """Scales and offsets are drawn, too, so that each has a part in the result."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for value in net.parameters():
      value.normal_(1.0 if value.ndim == 1 else 0.0, 0.2, generator=generator)
  return net.eval()


@pytest.fixture(scope="module")
def clip():
  c = CONFIG
  sizes = transformers.CLIPVisionConfig(
    hidden_size=c.vision_width,
    intermediate_size=4 * c.vision_width,
    num_hidden_layers=c.vision_layers,
    num_attention_heads=c.vision_heads,
    image_size=c.image_size,
    patch_size=c.patch_size,
  )
  return randomised(transformers.CLIPVisionModel(sizes))


def roberta_config(layers, cross):
  c = CONFIG
  return transformers.RobertaConfig(
    vocab_size=c.vocab_size,
    hidden_size=c.text_width,
    num_hidden_layers=layers,
    num_attention_heads=c.text_heads,
    intermediate_size=c.text_mlp_width,
    max_position_embeddings=c.max_positions,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
    is_decoder=True,
    add_cross_attention=cross,
    attn_implementation="eager",
  )


@pytest.fixture(scope="module")
def roberta():
  return randomised(transformers.RobertaForCausalLM(roberta_config(CONFIG.text_layers, True)))


def arrays(net, leave_out="crossattention"):
  return {name: x.numpy() for name, x in net.state_dict().items() if leave_out not in name}


def silenced(state):
  """Adaptors that add nothing: what remains of the text's is the norm of what has one already."""
  return {
    name: np.zeros_like(x) if ".adaptor." in name and x.ndim == 2 else x
    for name, x in state.items()
  }


def variables_of(clip, roberta, folder):
  """As a user has them, in files; then with adaptors that change nothing."""
  save_file(arrays(clip), folder / "clip.safetensors")
  torch.save({n: x for n, x in roberta.state_dict().items() if "cross" not in n}, folder / "r.pth")
  made = prismer.from_backbones(
    folder / "clip.safetensors", folder / "r.pth", CONFIG, jax.random.key(0)
  )
  return silenced(prismer.to_published(made))


def test_hidden_states_are_those_of_clip_and_roberta(clip, roberta, tmp_path):
  state = variables_of(clip, roberta, tmp_path)
  last = randomised(RobertaLayer(roberta_config(1, False)))
  for i, layer in enumerate(roberta.roberta.encoder.layer):
    for name, x in layer.crossattention.state_dict().items():
      place = f"{LAYER}{i}.1.{name}"
      assert state[place].shape == x.shape
      # The norm that follows is that of the adaptor: of 1 and 0 both.
      state[place] = state[place] if "LayerNorm" in name else x.numpy()
    with torch.no_grad():
      layer.crossattention.output.LayerNorm.weight.fill_(1)
      layer.crossattention.output.LayerNorm.bias.fill_(0)
  for name, x in last.state_dict().items():
    state[f"{LAYER.replace('layer.', 'output_layer.')}{name}"] = x.numpy()
  variables, model = prismer.convert(state, CONFIG), prismer.Prismer(CONFIG)

  rng = np.random.default_rng(0)
  image = rng.normal(size=(2, 24, 24, 3)).astype(np.float32)
  ids = rng.integers(3, CONFIG.vocab_size, (2, 7))
  ids[1, 5:] = CONFIG.pad_token
  mask = (ids != CONFIG.pad_token).astype(np.int32)

  with torch.no_grad():
    tower = getattr(clip, "vision_model", clip)
    x = tower.embeddings.patch_embedding(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    x = x.flatten(2).transpose(1, 2) + tower.embeddings.position_embedding.weight[1:]
    x = tower.encoder(inputs_embeds=tower.pre_layrnorm(x)).last_hidden_state
    expected_tokens = tower.post_layernorm(x)
    hidden = roberta.roberta(
      input_ids=torch.from_numpy(ids),
      attention_mask=torch.from_numpy(mask),
      encoder_hidden_states=expected_tokens,
    ).last_hidden_state
    causal = torch.tril(torch.ones(7, 7)) * torch.from_numpy(mask)[:, None, None, :]
    hidden = last(hidden, attention_mask=(1 - causal) * torch.finfo(torch.float32).min)
    hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    expected = roberta.lm_head(hidden)

  tokens = jax.jit(lambda v, x: model.apply(v, {"rgb": x}, method="encode"))(variables, image)
  np.testing.assert_allclose(tokens, expected_tokens, atol=1e-4 * float(expected_tokens.std()))
  decode = jax.jit(lambda v, *args: model.apply(v, *args, method="decode"))
  logits = decode(variables, ids, mask, tokens)
  seen = mask.astype(bool)
  np.testing.assert_allclose(
    np.asarray(logits)[seen], expected.numpy()[seen], atol=1e-4 * float(expected.std())
  )
