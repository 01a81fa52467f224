"""The auto-encoder whose codes K-Means clusters: one a seed, all trained together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.maxl.config import Config
from experiments.problems.images import ImageTasks
from experiments.runner.config import identity_of
from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Problem, Recipe
from jaxmtl import data, losses, models, training


def auto_encoder_job(config: Config, images: ImageTasks) -> Job:
  """Its training, on the images that are clustered."""
  model = models.AutoEncoder(config.codes.latent)
  shape, statistics = images.shape, images.statistics

  def init(key: jax.Array, setting: Any) -> Any:
    del setting
    return model.init(key, data.normalize(jnp.zeros((2, *shape), jnp.uint8), *statistics))

  def prepare(key: jax.Array, batch: Any) -> Any:
    del key
    return {"image": data.normalize(batch["image"], *statistics)}

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key
    restored, updated = model.apply(
      {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    return losses.mean_squared_error(restored, batch["image"])[None], training.Aux(updated)

  problem = Problem(("image",), init, losses_fn, prepare, lambda variables, batch: batch, {})
  recipe = Recipe(lambda _: optax.adam(1e-3), config.codes.auto_encoder_epochs, open_ended=True)
  feed = DeviceFeed({"image": images.parts["train"]["image"]}, config.training.batch_size)
  return Job(
    name="auto_encoder",
    problem=problem,
    update=training.train_step(losses_fn, recipe.optimizer(0), 1),
    feed=feed,
    recipe=recipe,
    identity={
      **identity_of(config.data),
      "data_seed": config.run.seed,
      "latent": config.codes.latent,
      "batch_size": config.training.batch_size,
    },
    seeds=config.run.all_seeds,
  )


def latent_codes(config: Config, images: ImageTasks, variables: Any) -> np.ndarray:
  """Codes of the training images by trained auto-encoders, float32 `[seeds, N, latent]`."""
  model = models.AutoEncoder(config.codes.latent)
  on_device = jnp.asarray(images.parts["train"]["image"])

  @jax.jit
  @jax.vmap
  def encode(variables: Any) -> Any:
    def one(image: jax.Array) -> Any:
      image = data.normalize(image[None], *images.statistics)
      return model.apply(variables, image, method="encode")[0]

    return jax.lax.map(one, on_device, batch_size=250)

  return np.asarray(encode(variables))
