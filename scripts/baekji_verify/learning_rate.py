"""The learning rate of a step, to the bit: docs/formats/training.md.

Every operation is one fp64 operation, in the order that is written here; there is no fused multiplication and no libm.
"""
from .functions import cos

PI = 3.14159265358979323846


def learning_rate(optimizer, step):
    """`optimizer` has numbers: lr, warmup, stable, decay, min_lr_ratio, and the schedule's name."""
    lr, warmup, ratio = optimizer["lr"], optimizer["warmup"], optimizer["min_lr_ratio"]
    if step <= warmup:
        return lr * float(step) / float(warmup)
    into_decay = max(step - warmup - optimizer["stable"], 0)
    progress = min(1.0, float(into_decay) / float(optimizer["decay"]))
    share = 0.5 * (1.0 + cos(PI * progress)) if optimizer["schedule"] == "cosine" else 1.0 - progress
    return lr * (ratio + (1.0 - ratio) * share)
