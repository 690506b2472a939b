"""An export made again from a state: docs/formats/export.md. Every file, in the order of provenance.json."""
import array
import hashlib
import json
import os
import struct
import sys
from dataclasses import dataclass

from .canonical import canonical
from .files import TOKENIZER, open_regular, read_file
from .parameters import declare_parameters
from .report import require, require_equal
from .sentencepiece import Tokenizer

BLOCK = {"attention.norm": "input_layernorm", "attention.q": "self_attn.q_proj", "attention.k": "self_attn.k_proj",
         "attention.v": "self_attn.v_proj", "attention.output": "self_attn.o_proj",
         "feed_forward.norm": "post_attention_layernorm", "feed_forward.gate": "mlp.gate_proj",
         "feed_forward.up": "mlp.up_proj", "feed_forward.down": "mlp.down_proj"}
HEAD_NORMS = {"attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm"}
BYTES = {"fp32": 4, "bf16": 2}
PIECE = 2**22  # bytes


@dataclass(frozen=True)
class Form:
    """What decides the bytes of an export, beside the state."""
    dtype: str
    shard_bytes: int


def form_of(contract):
    return "qwen3" if contract.value["model"]["qk_norm"] else "llama"


def released_names(model):
    """(their name, ours), in the order of the files."""
    names = [("model.embed_tokens.weight", "embedding")]
    for layer in range(model["layers"]):
        block = {**BLOCK, **HEAD_NORMS} if model["qk_norm"] else BLOCK
        names += [(f"model.layers.{layer}.{theirs}.weight", f"layers.{layer}.{ours}") for ours, theirs in block.items()]
    names.append(("model.norm.weight", "final_norm"))
    return names if model["tied_embeddings"] else [*names, ("lm_head.weight", "head")]


def require_expressible(model, where):
    width = model["head_dim"] or model["hidden"] // model["heads"]
    scale = float(model["attention_multiplier"])
    plain = not model["output_norms"] and all(
        float(model[key]) == 1 for key in ("embedding_multiplier", "residual_multiplier", "logits_multiplier"))
    require(plain and scale in (0.0, 1.0 / width ** 0.5), "a model that has no place in the forms of an export",
            "docs/formats/export.md, config.json", model, where)


def to_bf16(data):
    """Rounded to nearest, ties to even; a NaN stays one."""
    values = array.array("I", data)
    if sys.byteorder != "little":
        values.byteswap()
    out = array.array("H", [(u >> 16 | 0x40) if u & 0x7FFFFFFF > 0x7F800000 else (u + 0x7FFF + (u >> 16 & 1) >> 16) & 0xFFFF
                            for u in values])
    if sys.byteorder != "little":
        out.byteswap()
    return out.tobytes()


def logical_pieces(export, tensor):
    """The master weights of a tensor in row-major order, without padding, piece by piece."""
    files = [open_regular(export.path(tensor, 0, s)) for s in range(tensor.slices)]
    try:
        if tensor.split != "columns":
            left = 4 * tensor.rows * tensor.columns
            for file in files:
                while left > 0 and (data := file.read(min(PIECE, left))):
                    left -= len(data)
                    yield data
            require_equal(0, left, "a slice became shorter", export.folder)
            return
        row = 4 * tensor.slice_columns
        count = max(1, PIECE // (row * len(files)))
        for first in range(0, tensor.rows, count):
            rows = min(count, tensor.rows - first)
            parts = [file.read(rows * row) for file in files]
            yield b"".join(part[i * row:(i + 1) * row] for i in range(rows) for part in parts)
    finally:
        for file in files:
            file.close()


def plan(contract, form):
    """[(file name, [(their name, tensor)])]: a file is full when the next tensor would not fit."""
    declared = {tensor.name: tensor for tensor in declare_parameters(contract)}
    files, taken = [[]], 0
    for theirs, ours in released_names(contract.value["model"]):
        size = BYTES[form.dtype] * declared[ours].rows * declared[ours].columns
        if files[-1] and taken + size > form.shard_bytes:
            files.append([])
            taken = 0
        files[-1].append((theirs, declared[ours]))
        taken += size
    if len(files) == 1:
        return [("model.safetensors", files[0])]
    return [(f"model-{i + 1:05}-of-{len(files):05}.safetensors", file) for i, file in enumerate(files)]


def header(tensors, form, contract, export):
    metadata = {"baekji.contract": contract.digest, "baekji.state_root": export.root, "baekji.step": str(export.step),
                "format": "pt"}
    value, at = {"__metadata__": metadata}, 0
    for name, tensor in tensors:
        end = at + BYTES[form.dtype] * tensor.rows * tensor.columns
        value[name] = {"dtype": {"fp32": "F32", "bf16": "BF16"}[form.dtype], "shape": list(tensor.shape),
                       "data_offsets": [at, end]}
        at = end
    text = json.dumps(value, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def weight_bytes(tensors, form, contract, export):
    """The bytes of one file of weights."""
    yield header(tensors, form, contract, export)
    for _, tensor in tensors:
        for piece in logical_pieces(export, tensor):
            yield piece if form.dtype == "fp32" else to_bf16(piece)


def indented(value):
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def described(contract, form, step, tokenizer):
    """config.json and tokenizer_config.json."""
    m = contract.value["model"]
    stage = [stage for stage in contract.stages if stage["from_step"] <= step][-1]
    torch, end = {"fp32": "float32", "bf16": "bfloat16"}[form.dtype], tokenizer.end
    theta = float(stage["rope_theta"])
    config = {"architectures": ["Qwen3ForCausalLM" if m["qk_norm"] else "LlamaForCausalLM"], "model_type": form_of(contract),
              "dtype": torch, "torch_dtype": torch, "vocab_size": m["vocab"], "hidden_size": m["hidden"],
              "intermediate_size": m["ffn"], "num_hidden_layers": m["layers"], "num_attention_heads": m["heads"],
              "num_key_value_heads": m["kv_heads"], "head_dim": m["head_dim"] or m["hidden"] // m["heads"],
              "hidden_act": "silu", "max_position_embeddings": stage["context"], "rms_norm_eps": float(m["norm_eps"]),
              "rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta},
              "tie_word_embeddings": m["tied_embeddings"], "attention_bias": False, "attention_dropout": 0.0,
              "initializer_range": float(m["init_std"]), "use_cache": True, "bos_token_id": end, "eos_token_id": end}
    config["use_sliding_window" if m["qk_norm"] else "mlp_bias"] = False
    text = tokenizer.text(end)
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": text, "eos_token": text,
              "unk_token": tokenizer.text(tokenizer.unknown), "pad_token": None, "add_bos_token": False,
              "add_eos_token": False, "add_prefix_space": False, "legacy": True, "split_special_tokens": True,
              "clean_up_tokenization_spaces": False, "model_max_length": stage["context"]}
    return config, tokens


def make_release(contract, ledger, export, form, tokenizer_path, take=None):
    """(name, SHA-256) of every file that an export of this state has; take(name, bytes) is called for each piece."""
    require_expressible(contract.value["model"], "contract.json")
    made = []

    def add(name, pieces):
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
            if take:
                take(name, piece)
        made.append((name, digest.hexdigest()))

    model = read_file(tokenizer_path, TOKENIZER)
    require_equal(contract.value["tokenizer"], hashlib.sha256(model).hexdigest(), "not the contract's tokenizer", tokenizer_path)
    tokenizer = Tokenizer(model)
    config, tokens = described(contract, form, export.step, tokenizer)
    add("config.json", [indented(config)])
    add("generation_config.json", [indented({"bos_token_id": tokenizer.end, "eos_token_id": tokenizer.end})])
    add("tokenizer.model", [model])
    add("tokenizer_config.json", [indented(tokens)])
    files = plan(contract, form)
    for name, tensors in files:
        add(name, weight_bytes(tensors, form, contract, export))
    if len(files) > 1:
        total = sum(BYTES[form.dtype] * t.rows * t.columns for _, tensors in files for _, t in tensors)
        places = {theirs: name for name, tensors in files for theirs, _ in tensors}
        add("model.safetensors.index.json", [indented({"metadata": {"total_size": total},
                                                       "weight_map": dict(sorted(places.items()))})])
    provenance = {"format": "baekji-export-1", "contract": contract.digest, "state_root": export.root, "step": export.step,
                  "tokens": ledger.steps[export.step - 1].tokens, "form": form_of(contract), "dtype": form.dtype,
                  "shard_bytes": form.shard_bytes, "files": [{"name": name, "sha256": digest} for name, digest in made]}
    add("provenance.json", [canonical(provenance) + b"\n"])
    return made


def first_difference(path, contract, export, form):
    """Where a file of weights first differs from the state, in words for people; empty where it does not."""
    tensors = dict(plan(contract, form)).get(os.path.basename(path))
    if tensors is None:
        return ""
    with open_regular(path) as file:
        head = header(tensors, form, contract, export)
        if file.read(len(head)) != head:
            return "its header"
        for name, tensor in tensors:
            at = 0
            for piece in logical_pieces(export, tensor):
                wanted = piece if form.dtype == "fp32" else to_bf16(piece)
                came = file.read(len(wanted))
                if came != wanted:
                    byte = next((i for i, (a, b) in enumerate(zip(wanted, came)) if a != b), len(came))
                    return f"{name}, element {(at + byte) // BYTES[form.dtype]}"
                at += len(wanted)
        return "bytes behind its last tensor" if file.read(1) else ""
