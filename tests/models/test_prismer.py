"""Prismer: the released program's values, experts, sizes, freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import prismer_goldens as goldens
import pytest
from flax import traverse_util

from jaxmtl import losses
from jaxmtl.models import prismer
from jaxmtl.models.prismer.convert import shapes
from jaxmtl.models.prismer.experts import inputs_of
from jaxmtl.models.prismer.grids import bicubic_matrix, resize_nearest, resize_table

TINY = prismer.Config.tiny()
encode = jax.jit(
  lambda model, variables, experts, rows: model.apply(
    variables, experts, instance_rows=rows, method="encode"
  ),
  static_argnums=0,
)
decode = jax.jit(
  lambda model, variables, *args: model.apply(variables, *args, method="decode"), static_argnums=0
)


def test_tokens_are_those_of_the_released_program(x64):
  model, variables, experts = prismer.Prismer(TINY), goldens.variables(), goldens.experts()
  found = encode(model, variables, experts, goldens.rows())
  goldens.near(found, goldens.want("tokens")[:1])
  # The rows of objects matter, and those of other numbers do not.
  other = goldens.rows().at[jnp.array([100, 200])].set(3)
  np.testing.assert_array_equal(encode(model, variables, experts, other), found)
  assert not np.allclose(encode(model, variables, experts, (other + 1) % 128), found)
  # Another order of the experts is another program, with the same tokens.
  given = inputs_of(prismer.Config.tiny(experts=dict(list(TINY.experts.items())[::-1])), experts)
  assert [name for name, _ in given] == ["obj_detection", "normal", "depth"]


def test_attention_over_experts_is_what_the_resampler_computes(x64):
  model, variables, experts = prismer.Prismer(TINY), goldens.variables(), goldens.experts()
  found = prismer.expert_attention(model, variables, experts)
  assert list(found) == list(TINY.experts)
  total = sum(weights.sum((-2, -1)) for weights in found.values())
  assert ((total > 0) & (total < 1)).all()  # the rest is on the latents themselves
  # In the first block, computed here from the tokens of one expert.
  some = {name: experts[name] for name in ("rgb", "depth")}
  alone = prismer.expert_attention(model, variables, some)["depth"][:, 0]

  def tokens_of(module, labels):
    encoder = module.expert_encoder
    return encoder._with_positions(encoder.stem["depth"](labels, False))

  tokens = model.apply(variables, some["depth"], method=tokens_of)[0]
  resampler = variables["params"]["expert_encoder"]["resampler"]
  block = resampler["block_0"]

  def normal(x, norm):
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * norm["scale"] + norm["bias"]

  queries = normal(resampler["latents"], block["ln_1"])
  context = jnp.concatenate([queries, normal(tokens, block["ln_2"])])
  q, k = (
    (x @ block["attention"][n]["kernel"] + block["attention"][n]["bias"]).reshape(len(x), 4, -1)
    for n, x in (("query", queries), ("key", context))
  )
  weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5)[..., 6:]
  np.testing.assert_allclose(alone[0].reshape(weights.shape), weights, rtol=1e-9)


def test_labels_and_images_of_other_sizes(x64):
  found = encode(
    prismer.Prismer(TINY), goldens.variables(), goldens.experts("interp_"), goldens.rows("interp_")
  )
  goldens.near(found, goldens.want("interp_vision_experts"))
  # The table of positions is resized once, for the image, and for labels in every pass.
  model = prismer.Prismer(prismer.Config.tiny(image_size=48))
  experts = goldens.experts(rgb="rgb48")
  found = encode(model, goldens.variables(image_size=48), experts, goldens.rows())
  goldens.near(found, goldens.want("vision_experts48"), 1e-6)


def test_grids():
  table = jnp.arange(32.0).reshape(16, 2)
  assert resize_table(table, (4, 4)) is table
  np.testing.assert_allclose(bicubic_matrix(5, 8).sum(axis=1), 1)
  assert resize_nearest(jnp.arange(7).reshape(1, 7, 1), (3, 1)).ravel().tolist() == [0, 2, 4]
  with pytest.raises(ValueError, match="15 positions is not square"):
    resize_table(table[:15], (4, 4))


@pytest.mark.parametrize("case", ["caption", "vqa"])
def test_words_and_their_loss_are_those_of_the_released_program(case, x64):
  ids, mask, labels = (goldens.given(f"{case}_{name}") for name in ("ids", "mask", "labels"))
  tokens = jnp.asarray(goldens.want("tokens"))
  found = decode(prismer.Prismer(TINY), goldens.variables(), ids, mask, tokens)
  goldens.near(found, goldens.want(f"{case}_logits"))
  loss = losses.token_cross_entropy(found, labels)
  goldens.near(loss, goldens.want(f"{case}_loss_per_sample"))


def test_loss_of_no_words():
  logits = jnp.full((2, 3, 4), jnp.nan)
  labels = jnp.full((2, 3), -100)
  value, grad = jax.value_and_grad(lambda x: losses.token_cross_entropy(x, labels).sum())(logits)
  assert value == 0
  assert not np.asarray(grad).any()
  with pytest.raises(ValueError, match=r"\[B, L, V\].*\(2, 3\) and \(2, 2\)"):
    losses.token_cross_entropy(logits[..., 0], labels[:, :2])
  with pytest.raises(TypeError, match="float32"):
    losses.token_cross_entropy(logits, labels * 1.0)
  with pytest.raises(ValueError, match="label_smoothing"):
    losses.token_cross_entropy(logits, labels, label_smoothing=2)


def test_a_word_that_is_none_raises_or_does_not_count():
  logits = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32)
  compiled = jax.jit(jax.value_and_grad(lambda x, y: losses.token_cross_entropy(x, y).sum()))
  want = jax.tree.map(np.asarray, compiled(logits, np.array([[0, 1, 2, -100]])))
  for bad in (-1, 5, 2**20):
    labels = np.array([[0, 1, 2, bad]])
    with pytest.raises(
      ValueError, match=rf"labels must be tokens from 0 to 4, got {bad} \(1 of 3\)"
    ):
      losses.token_cross_entropy(logits, labels)
    jax.tree.map(np.testing.assert_array_equal, compiled(logits, labels), want)


@pytest.mark.parametrize(
  ("config", "total", "trained", "without", "trained_without"),
  [
    (prismer.Config.base(), 327_468_729, 157_359_801, 274_335_321, 104_226_393),
    (prismer.Config.large(), 967_146_713, 362_527_961, 872_856_665, 268_237_913),
  ],
  ids=["base", "large"],
)
def test_sizes_are_the_published_ones(config, total, trained, without, trained_without):
  leaves = {path: leaf for path, leaf in shapes(config).items() if path[0] == "params"}
  mask = prismer.trainable(traverse_util.unflatten_dict(leaves), "freeze_lang_vision")
  mask = traverse_util.flatten_dict({"params": mask})
  assert sum(leaf.size for leaf in leaves.values()) == total
  assert sum(leaf.size * mask[path] for path, leaf in leaves.items()) == trained
  # PrismerZ is what is left without the experts' parts.
  parts = ("stem_", "resampler", "instance_embedding")
  left = {path: leaf.size for path, leaf in leaves.items() if not path[2].startswith(parts)}
  assert sum(left.values()) == without
  assert sum(size * mask[path] for path, size in left.items()) == trained_without


def test_without_experts_or_adaptors_there_are_no_parts_for_them():
  parts = ("stem_", "resampler", "instance_embedding")
  left = {path for path in shapes(TINY) if not path[2].startswith(parts)}
  assert shapes(prismer.Config.tiny(experts={})).keys() == left
  left = {path for path in shapes(TINY) if "adaptor" not in path}
  assert len(shapes(TINY)) - len(left) == 4 * 6  # of two blocks and two layers
  assert shapes(prismer.Config.tiny(adaptors=False)).keys() == left


@pytest.mark.parametrize("mode", ["none", "freeze_lang", "freeze_vision", "freeze_lang_vision"])
def test_what_is_trained_is_what_the_released_program_trains(mode):
  variables = traverse_util.unflatten_dict(shapes(TINY))
  mask = prismer.trainable(variables, mode)
  assert jax.tree.structure(mask) == jax.tree.structure(variables["params"])
  sizes = jax.tree.map(lambda leaf, keep: leaf.size * keep, variables["params"], mask)
  assert sum(jax.tree.leaves(sizes)) == goldens.FILE[f"trainable/{mode}"]


def test_unknown_freezing():
  with pytest.raises(ValueError, match="freeze_lang_vision, got 'all'"):
    prismer.trainable({"params": {}}, "all")


SMALL = prismer.Config.tiny(
  **{"vision_layers": 1, "text_layers": 1, "resampler_layers": 1},
  experts={"obj_detection": 64},
)


def test_training_moves_what_is_trained_and_nothing_else():
  model, rng = prismer.Prismer(SMALL), np.random.default_rng(0)
  leaves = shapes(SMALL)
  start = traverse_util.unflatten_dict(
    {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape) ** 2) for path, leaf in leaves.items()}
  )
  ids = jnp.asarray(rng.integers(3, 60, (2, 6)))
  experts = {
    "rgb": jnp.asarray(rng.normal(size=(2, 32, 32, 3)), jnp.float32),
    "obj_detection": jnp.asarray(rng.normal(size=(2, 32, 32, 64)), jnp.float32),
    "obj_instance": jnp.asarray(rng.integers(0, 256, (2, 32, 32)), jnp.uint8),
  }
  mask = prismer.trainable(start)
  tx = optax.partition({True: optax.adam(1e-2), False: optax.set_to_zero()}, mask)

  def loss_fn(params, stats, key):
    rngs = dict(zip(("dropout", "instances"), jax.random.split(key), strict=True))
    variables = {"params": params, "batch_stats": stats}
    logits, moved = model.apply(
      *(variables, experts, ids, ids > 0),
      **{"train": True, "rngs": rngs, "mutable": ["batch_stats"]},
    )
    return losses.token_cross_entropy(logits, ids).mean(), moved["batch_stats"]

  @jax.jit
  def step(params, stats, state, key):
    grads, stats = jax.grad(loss_fn, has_aux=True)(params, stats, key)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), stats, state

  params, stats = start["params"], start["batch_stats"]
  state = tx.init(params)
  for key in jax.random.split(jax.random.key(0), 10):
    params, stats, state = step(params, stats, state, key)
  before, after = (traverse_util.flatten_dict(x) for x in (start["params"], params))
  for path, trained in traverse_util.flatten_dict(mask).items():
    assert np.array_equal(before[path], after[path]) != trained, path
  assert all(np.isfinite(leaf).all() for leaf in after.values())
  sizes = jax.tree.map(lambda leaf, keep: leaf.size * keep, params, mask)
  held = [leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim]
  assert sum(held) == 2 * sum(jax.tree.leaves(sizes))  # Adam's two moments
  pairs = zip(jax.tree.leaves(start["batch_stats"]), jax.tree.leaves(stats), strict=True)
  assert not any(np.array_equal(a, b) for a, b in pairs)


def test_half_precision_and_remat_are_options_of_the_computation():
  config = prismer.Config.tiny(dtype=jnp.bfloat16, remat=True, experts={})
  model, ids = prismer.Prismer(config), jnp.ones((1, 4), jnp.int32)
  image = {"rgb": jnp.ones((1, 32, 32, 3))}
  logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image, ids, ids)
  assert logits.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

  def tokens(variables):
    return model.apply(variables, image, method="encode")

  def loss(variables):
    return model.apply(variables, image, ids, ids).sum()

  assert jax.eval_shape(tokens, variables).dtype == jnp.bfloat16
  program = str(jax.make_jaxpr(jax.grad(loss))(variables))
  assert program.count("remat2") + program.count("checkpoint") >= 5  # two blocks, three layers
  assert hash(config) == hash(prismer.Config.tiny(dtype=jnp.bfloat16, remat=True, experts={}))


def test_first_values_cover_experts_that_are_missing():
  experts = {"rgb": jnp.ones((1, 32, 32, 3)), "seg_ade": jnp.ones((1, 16, 16, 64))}
  config = prismer.Config.tiny(experts=prismer.EXPERTS)
  ids = jnp.ones((1, 4), jnp.int32)
  found = jax.eval_shape(prismer.Prismer(config).init, jax.random.key(0), experts, ids, ids)
  assert traverse_util.flatten_dict(found).keys() == shapes(config).keys()
  both = experts | {"seg_coco": jnp.zeros((1, 32, 32, 64))}
  assert [name for name, _ in inputs_of(config, both)] == ["seg_coco", "seg_ade"]


IMAGE, LABEL = jnp.ones((2, 32, 32, 3)), jnp.ones((2, 32, 32, 64))


@pytest.mark.parametrize(
  ("experts", "message"),
  [
    ({"depth": IMAGE}, r"image as 'rgb', got only \['depth'\]"),
    ({"rgb": IMAGE[0]}, r"'rgb' must have shape .*\(32, 32, 3\)"),
    ({"rgb": IMAGE[:, :4]}, "4 x 32 pixels is smaller than a patch of 8"),
    ({"rgb": IMAGE, "depth": IMAGE}, r"'depth' must have shape \[2, H, W, 1\].*32, 3\)"),
    ({"rgb": IMAGE, "edge": IMAGE}, r"\['edge'\] are not among"),
    ({"rgb": IMAGE, "obj_detection": LABEL}, "'obj_instance', integers .* got None"),
    (
      {"rgb": IMAGE, "obj_detection": LABEL, "obj_instance": LABEL[..., 0]},
      "got float32 of shape",
    ),
    ({"rgb": IMAGE, "depth": IMAGE[:, :1, :, :1]}, "smaller than a patch"),
  ],
)
def test_bad_experts_are_named(experts, message):
  model, ids = prismer.Prismer(TINY), jnp.ones((2, 4), jnp.int32)
  if "depth" in experts and experts["depth"].shape[1] == 1:
    experts["depth"] = jnp.ones((2, 0, 32, 1))
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), experts, ids, ids)


@pytest.mark.parametrize(
  ("ids", "mask", "count", "message"),
  [
    (jnp.ones((2, 4)), jnp.ones((2, 4)), 2, "integers"),
    (jnp.ones((2, 4), int), jnp.ones((2, 3)), 2, r"shape of ids, \(2, 4\), got \(2, 3\)"),
    (jnp.ones((2, 4), int), jnp.ones((2, 4)), 3, "tokens must be those of 2 images"),
    (jnp.ones((2, 39), int), jnp.ones((2, 39)), 2, "at most 38 words"),
  ],
)
def test_bad_texts_are_named(ids, mask, count, message):
  variables, tokens = traverse_util.unflatten_dict(shapes(TINY)), jnp.ones((count, 16, 32))

  def call(variables):
    return prismer.Prismer(TINY).apply(variables, ids, mask, tokens, method="decode")

  with pytest.raises(ValueError, match=message):
    jax.eval_shape(call, variables)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"text_heads": 5}, "text_heads must divide the 32"),
    ({"vision_layers": 0}, "vision_layers must be at least 1, got 0"),
    ({"image_size": 4}, "image_size must be at least patch_size=8"),
    ({"experts": {"rgb": 3}}, "rgb"),
    ({"vision_width": 36}, "multiple of 8"),
    ({"dropout": 1.0}, "dropout"),
    ({"attention": "flash"}, "'cudnn', got 'flash'"),
  ],
)
def test_bad_configurations_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    prismer.Config.tiny(**changes)


def test_rows_of_objects():
  rows = np.asarray(prismer.instance_rows(jax.random.key(1)))
  assert len({*rows[:127].tolist(), rows[255]}) == 128
  assert not np.array_equal(rows, prismer.fixed_rows(128))
