"""What bench/gpu/run compares: the models, as configs/bench/gpu has them, and the settings of PyTorch. No torch in here: the
machine may have none."""

# Fields of Shape in bench/peer/model.py, with `batch` sequences in a micro-batch, and the micro-batches of a step.
MODELS = {
    "1b3": ({"hidden": 2048, "layers": 24, "heads": 16, "kv_heads": 16, "ffn": 5632, "vocab": 50304, "context": 2048, "batch": 4}, 8),
    "8b_shaped": ({"hidden": 4096, "layers": 8, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 32768, "context": 4096, "batch": 2}, 8),
    "32b_slice": ({"hidden": 5120, "layers": 2, "heads": 5, "kv_heads": 1, "head_dim": 128, "ffn": 3024, "vocab": 1024, "context": 4096,
                   "batch": 2}, 8),
    "72b_slice": ({"hidden": 8192, "layers": 2, "heads": 8, "kv_heads": 1, "head_dim": 128, "ffn": 3696, "vocab": 1024, "context": 4096,
                   "batch": 2}, 8),
}
# For tests of bench/gpu/peer.py alone: no configuration has it, and its speed says nothing.
TINY = ({"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32, "ffn": 96, "vocab": 128, "context": 32, "batch": 2}, 2)

# How PyTorch holds its weights. The first is comparable with Baekji's bf16: fp32 weights and moments, products in bf16, a bf16
# residual stream. The second keeps no fp32 weights, so that small updates are lost: it is faster, and another training.
AUTOCAST = "bf16 autocast, fp32 weights"
PURE = "bf16 weights, no fp32 copy"

# name -> what peer.py is told. The first is the one that is measured where time allows but one: cuDNN's attention is expected to
# be the faster on Hopper. `compile`: a mode of torch.compile.
SETTINGS = {
    "compiled, cudnn attention": {"precision": AUTOCAST, "compile": "default", "attention": "cudnn"},
    "compiled, cudnn attention, bf16 weights": {"precision": PURE, "compile": "default", "attention": "cudnn"},
    "compiled, flash attention": {"precision": AUTOCAST, "compile": "default", "attention": "flash"},
    "compiled, flash attention, bf16 weights": {"precision": PURE, "compile": "default", "attention": "flash"},
    "autotuned, cudnn attention": {"precision": AUTOCAST, "compile": "max-autotune-no-cudagraphs", "attention": "cudnn"},
    "autotuned, cudnn attention, bf16 weights": {"precision": PURE, "compile": "max-autotune-no-cudagraphs", "attention": "cudnn"},
    "CUDA graphs, cudnn attention": {"precision": AUTOCAST, "compile": "reduce-overhead", "attention": "cudnn"},
    "CUDA graphs, cudnn attention, bf16 weights": {"precision": PURE, "compile": "reduce-overhead", "attention": "cudnn"},
    "autotuned, CUDA graphs, cudnn attention": {"precision": AUTOCAST, "compile": "max-autotune", "attention": "cudnn"},
}
