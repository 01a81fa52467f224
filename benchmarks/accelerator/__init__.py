"""Everything that wants a figure from an accelerator, in order of value and within a given time.

Command: `python -m benchmarks.accelerator --minutes 8 --out accelerator.json`. Parts, first to last
(`--parts` chooses among them):

- agreement: every aggregator's update on the accelerator beside the CPU's, in float32;
- steps: whole training steps of several methods in plain steps (MLP, ResNet-18, ViT-B/16;
  T = 3, 8, 20; float32 and bfloat16), with what the compiler says of memory and work;
- dense: steps of DeepLab with three tasks of maps, at the sizes of NYUv2;
- contrast: a step of DeepLabV3+ with ReCo's head and loss beside one without;
- forms: the same step with explicit task gradients, all at once and one task after the other, and
  from the Gramian;
- meta: hypergradients beside finite differences, and Auto-lambda's whole step;
- seeds: eight seeds in one call beside eight calls;
- aggregation: every aggregator alone, over the time in which its bytes move at a copy's bandwidth;
- peers: TorchJD's steps, where it and PyTorch with CUDA are installed;
- deep: steps of ResNet-50;
- batches: the largest batch of each method by the compiler's count of memory.

Every figure is a median of rounds that run all programs of a group in turn, after a warm-up, and
each measurement runs as many steps as fill 50 ms before it waits for the device. Programs of a
group compile side by side. What was found goes into the JSON file after every group, and as a
Markdown table to the standard output; groups that no longer fit into the time are named at the end.
`--tiny` takes sizes for a CPU, to see that all of it runs.
"""
