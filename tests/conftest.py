"""Eight simulated devices and quick compilation, before JAX starts; fixtures."""

import gc
import importlib.metadata
import io
import json
import os
import shutil
import tempfile

# The tests' time is compilation. XLA's costly passes change speed, not results, and the experiment
# that CI runs has them. As an environment variable it reaches the processes that tests start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Each operation's call stack in the program would take a twentieth of the time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# A small program is compiled sooner as a whole than in the many parts that threads would share.
flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
_OLD = importlib.metadata.version("jaxlib").startswith("0.10.")
if _OLD:  # later ones do not know the flag
  # XLA's older emitters compile in half the time.
  flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(flags).strip()

# What several tests compile, and the processes that they start, is compiled once in a session, but
# for small programs: to write and find them again takes longer. Not with a later jaxlib, which once
# aborted while it wrote a program.
_CACHE = None
if _OLD and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _CACHE = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxmtl_tests_")
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
  os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Files lie in memory where there is room: each checkpoint waits for a disk, and none of these is to
# outlive the machine.
_MEMORY = "/dev/shm"
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2**31:
  os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)

import jax
import numpy as np
import pytest
from PIL import Image

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  jax.config.update("jax_num_cpu_devices", 8)


def pytest_collection_finish():
  """What imports made stays: a garbage collection need not look at it each time.

  Tracing makes much that lives on, and Python's own thresholds would have it looked through for a
  twentieth of the time.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 20, 20)


# Linux grants a process 65,530 parts of memory; a compiled program has some fifteen, and the
# compiler crashes where none is left.
_MAPS, _MOST_MAPS = "/proc/self/maps", 40_000


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
  """After a file of tests, what was compiled is let go of, if much was."""
  yield
  if os.path.exists(_MAPS):
    with open(_MAPS) as maps:
      many = sum(1 for _ in maps) > _MOST_MAPS
    if many:
      jax.clear_caches()
      gc.collect()


def pytest_sessionfinish():
  """Only the process that made the cache removes it."""
  if _CACHE is not None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def x64():
  """Double precision within one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def mesh():
  """Eight devices in a row, axis `data`."""
  if jax.device_count() < 8:
    pytest.skip("needs 8 devices")
  return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


@pytest.fixture
def write_tfds(tmp_path):
  """Write a data set folder: splits map names to lists of (image, label), or (image, labels).

  `labels` says what the latter are: a number of classes, or bool, by name; or a dict of these.
  """

  # Imported where needed: it takes seconds.
  import tensorflow_datasets as tfds
  from array_record.python import array_record_module

  def feature_of(kind):
    if isinstance(kind, dict):
      return {key: feature_of(inner) for key, inner in kind.items()}
    return np.bool_ if kind is bool else tfds.features.ClassLabel(num_classes=kind)

  def write(
    splits, *, name="tiny", version="1.0.0", classes=3, shape=(8, 8, 3), coarse=False, labels=None
  ):
    folder = tmp_path / "tfds" / name / version
    folder.mkdir(parents=True)
    kinds = {"label": tfds.features.ClassLabel(names=[f"class{i}" for i in range(classes)])}
    if coarse:
      kinds["coarse_label"] = tfds.features.ClassLabel(num_classes=2)
    if labels is not None:
      kinds = {key: feature_of(kind) for key, kind in labels.items()}
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=shape), **kinds})
    features.save_config(folder)
    for split, examples in splits.items():
      path = folder / f"{name.split('/')[0]}-{split}.array_record-00000-of-00001"
      writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
      for image, label in examples:
        given = label if isinstance(label, dict) else {"label": label}
        writer.write(_example(image, given | ({"coarse_label": label % 2} if coarse else {})))
      writer.close()
    info = {
      "name": name.split("/")[0],
      "version": version,
      "fileFormat": "array_record",
      "splits": [
        {
          "name": split,
          "numBytes": "1",
          "shardLengths": [str(len(examples))],
          "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for split, examples in splits.items()
      ],
    }
    if "/" in name:
      info["configName"] = name.split("/")[1]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path / "tfds"

  return write


@pytest.fixture
def examples():
  """Make random (image, label) pairs, labels in turn."""

  def make(count, *, classes=3, shape=(8, 8, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, shape, dtype=np.uint8), i % classes) for i in range(count)]

  return make


@pytest.fixture
def drawn():
  """Draw a figure, and find its texts inside it and its limits finite."""
  # Imported where needed: it takes a second.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.text import Text

  def check(figure):
    FigureCanvasAgg(figure).draw()
    box = figure.bbox
    for text in figure.findobj(Text):
      if text.get_visible() and text.get_text().strip() and _in_view(text, figure):
        found = text.get_window_extent()
        inside = found.x0 > -1 and found.y0 > -1 and found.x1 < box.x1 + 1 and found.y1 < box.y1 + 1
        assert inside or not found.width, f"{text.get_text()!r} is cut off"
    for axes in figure.axes:
      assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    return figure

  return check


@pytest.fixture
def long():
  """A name longer than figures have room for in one line."""
  return "auto_lambda,_finite_difference+conflict_free_with_momentum_and_a_very_long_name_indeed"


def _in_view(text, figure):
  """Matplotlib keeps the labels of ticks outside the limits, and does not draw them."""
  for axes in figure.axes:
    for axis in (axes.xaxis, axes.yaxis):
      low, high = sorted(axis.get_view_interval())
      for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        if text in (tick.label1, tick.label2) and not low <= tick.get_loc() <= high:
          return False
  return True


def _example(image, labels):
  from tensorflow_datasets.proto import tf_example_pb2

  file = io.BytesIO()
  Image.fromarray(image.squeeze()).save(file, "PNG")
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature["image"].bytes_list.value.append(file.getvalue())
  for key, value in labels.items():
    inner = {f"{key}/{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    for path, number in inner.items():
      feature[path].int64_list.value.append(int(number))
  return example.SerializeToString()
