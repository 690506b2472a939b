#!/usr/bin/env python3
"""Training speed of PyTorch on one GPU in one setting: the model of bench/peer/model.py, random tokens, gradients accumulated over
the micro-batches of a step, gradient clipping, fused AdamW. Writes one JSON object. bench/gpu/run starts a fresh process of it for
each measurement. Exit status 77: this Python has no PyTorch, or PyTorch sees no GPU."""

import argparse
import json
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peer")]

from cases import AUTOCAST, MODELS, PURE, TINY  # noqa: E402  (beside this file)


def choose_attention(torch, wanted):
    """One back end and no other, so that a setting is what its name says: what it cannot compute is an error."""
    chosen = torch.backends.cuda
    chosen.enable_cudnn_sdp(wanted == "cudnn")
    chosen.enable_flash_sdp(wanted == "flash")
    chosen.enable_mem_efficient_sdp(False)
    chosen.enable_math_sdp(False)


def make_model(torch, shape, arguments):
    """(the model, what to call for a loss)."""
    from model import Model

    torch.manual_seed(0)
    with torch.device(arguments.device):
        model = Model(shape, residual=torch.bfloat16)
    if arguments.precision == PURE:
        model = model.to(torch.bfloat16)
    if arguments.compile == "none":
        return model, model
    return model, torch.compile(model, mode=arguments.compile, fullgraph=True, dynamic=False)


def step_function(torch, shape, micro_batches, arguments):
    """A function that trains one step and returns its mean loss, on the host."""
    model, forward = make_model(torch, shape, arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    token_MBT = torch.randint(shape.vocab, (micro_batches, shape.batch, shape.context + 1), device=arguments.device)
    inputs_MBT, targets_MBT = token_MBT[..., :-1].contiguous(), token_MBT[..., 1:].contiguous()
    # A CUDA graph reuses the memory of its results with its next run: gradients need memory of their own from the start.
    graphs = arguments.compile in ("reduce-overhead", "max-autotune")
    if graphs:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)

    def step():
        total = torch.zeros((), device=arguments.device)
        for input_BT, target_BT in zip(inputs_MBT, targets_MBT):
            if graphs:
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(arguments.device, dtype=torch.bfloat16, enabled=arguments.precision == AUTOCAST):
                loss = forward(input_BT, target_BT)
            (loss / micro_batches).backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not graphs)
        return total.item() / micro_batches  # waits for all of the step

    return step


def memory_of(torch, device):
    if device == "cpu":
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"allocated_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved(),
            "taken_bytes": total - free}


def versions_of(torch, device):
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    if device != "cpu":
        versions["cudnn"] = torch.backends.cudnn.version()
        versions["device"] = torch.cuda.get_device_name()
    try:
        import triton
        versions["triton"] = triton.__version__
    except ImportError:
        pass
    return versions


def measure(torch, arguments):
    from model import Shape

    fields, micro_batches = TINY if arguments.model == "tiny" else MODELS[arguments.model]
    shape = Shape(**fields)
    torch.set_float32_matmul_precision("high")  # TF32 where anything is left in fp32
    if arguments.device == "cuda":
        choose_attention(torch, arguments.attention)
    begin = time.perf_counter()
    step = step_function(torch, shape, micro_batches, arguments)
    losses = [step() for _ in range(arguments.warmup)]
    prepared_s = time.perf_counter() - begin
    seconds = []
    for _ in range(arguments.steps):
        begin = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - begin)
    tokens = micro_batches * shape.tokens
    tokens_per_s = tokens / statistics.median(seconds)
    return {"model": arguments.model, "precision": arguments.precision, "compile": arguments.compile, "attention": arguments.attention,
            "tokens_per_step": tokens, "flops_per_token": shape.flops_per_token(), "tokens_per_s": tokens_per_s,
            "tflops": tokens_per_s * shape.flops_per_token() / 1e12, "steps_ms": [1e3 * s for s in seconds], "prepared_s": prepared_s,
            "losses": losses, **memory_of(torch, arguments.device), "versions": versions_of(torch, arguments.device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=[*MODELS, "tiny"])
    parser.add_argument("--precision", default=AUTOCAST, choices=[AUTOCAST, PURE])
    parser.add_argument("--compile", default="default", help="a mode of torch.compile, or none")
    parser.add_argument("--attention", default="cudnn", choices=["cudnn", "flash"])
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them, at least 1: they compile")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="file for the JSON object")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try this script")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("SKIPPED: this Python has no PyTorch", file=sys.stderr)
        sys.exit(77)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(f"SKIPPED: PyTorch {torch.__version__} sees no GPU", file=sys.stderr)
        sys.exit(77)
    arguments.output.write_text(json.dumps(measure(torch, arguments)) + "\n")


if __name__ == "__main__":
    main()
