"""The parameters of a contract's model: docs/formats/parameters.md; their slices: docs/formats/state-root.md, "Geometry"."""
import math

CHUNK = 65536  # elements


class Tensor:
    """A parameter and its slices. `kind` is "normal" with a standard deviation, or "constant"; padded_rows is 0 where the
    tensor is not padded."""

    def __init__(self, name, shape, split, slices, padded_rows, kind, value):
        self.name, self.shape, self.split, self.slices = name, shape, split, slices
        self.padded_rows, self.kind, self.value = padded_rows, kind, value
        self.rows, self.columns = (1, *shape)[-2:]
        self.all_rows = padded_rows or self.rows
        self.slice_rows = self.all_rows // (slices if split == "rows" else 1)
        self.slice_columns = self.columns // (slices if split == "columns" else 1)
        self.slice_elements = self.slice_rows * self.slice_columns
        self.chunks = -(-self.slice_elements // CHUNK)

    def chunk_elements(self, chunk):
        return min(CHUNK, self.slice_elements - chunk * CHUNK)

    def geometry(self):
        return {"name": self.name, "padded_rows": self.padded_rows, "shape": list(self.shape), "slices": self.slices,
                "split": self.split}


def declare_parameters(contract):
    """Every parameter that [model] has, sorted by name. What the model must be was checked with the contract."""
    m, grains = contract.value["model"], contract.value["numerics"]["tensor_grains"]
    hidden, ffn, std = m["hidden"], m["ffn"], float(m["init_std"])
    width = m["head_dim"] or hidden // m["heads"]
    residual_std = std / math.sqrt(2.0 * float(m["layers"])) if m["init_residual_scaling"] else std / 1.0
    tensors = []

    def gain(name, extent):
        tensors.append(Tensor(name, (extent,), "none", 1, 0, "constant", 1.0))

    def matrix(name, rows, columns, split, deviation, padded_rows=0):
        tensors.append(Tensor(name, (rows, columns), split, grains, padded_rows, "normal", deviation))

    for name in ("embedding",) if m["tied_embeddings"] else ("embedding", "head"):
        matrix(name, m["vocab"], hidden, "rows", std, -(-m["vocab"] // grains) * grains)
    gain("final_norm", hidden)
    for layer in range(m["layers"]):
        attention, feed_forward = f"layers.{layer}.attention.", f"layers.{layer}.feed_forward."
        for name, rows in (("q", m["heads"] * width), ("k", m["kv_heads"] * width), ("v", m["kv_heads"] * width)):
            matrix(attention + name, rows, hidden, "rows", std)
        for name in ("gate", "up"):
            matrix(feed_forward + name, ffn, hidden, "rows", std)
        matrix(attention + "output", hidden, m["heads"] * width, "columns", residual_std)
        matrix(feed_forward + "down", hidden, ffn, "columns", residual_std)
        for prefix in (attention, feed_forward):
            gain(prefix + "norm", hidden)
            if m["output_norms"]:
                gain(prefix + "output_norm", hidden)
        if m["qk_norm"]:
            gain(attention + "q_norm", width)
            gain(attention + "k_norm", width)
    return sorted(tensors, key=lambda tensor: tensor.name.encode())
