"""The contract: docs/formats/contract.md. What of a ledger follows from it."""
import bisect
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .canonical import canonical, check_members, parse_canonical, sha256
from .files import CONTRACT, read_file
from .learning_rate import learning_rate
from .parameters import declare_parameters
from .report import require, require_equal

MODEL = {
    "head_dim": "count",
    **dict.fromkeys("layers hidden heads kv_heads ffn vocab context".split(), "positive"),
    **dict.fromkeys("qk_norm output_norms tied_embeddings document_mask init_residual_scaling".split(), "flag"),
    **dict.fromkeys("rope_theta norm_eps init_std embedding_multiplier attention_multiplier residual_multiplier "
                    "logits_multiplier".split(), "real")}
NUMERICS = {"precision": "text", "residual": "text",
            **dict.fromkeys("global_batch micro_batch replicas tensor_grains loss_chunk".split(), "positive")}
OPTIMIZER = {"kind": "text", "schedule": "text", "betas": "reals", "warmup": "count", "stable": "count",
             "decay": "positive", **dict.fromkeys("lr eps weight_decay clip min_lr_ratio".split(), "real")}
STAGE = {"context": "positive", "from_step": "positive", "global_batch": "positive", "micro_batch": "positive",
         "rope_theta": "real", "weights": "reals"}
FORMATS = {"batch_order": 2, "checkpoint": 1, "genesis": 1, "ledger": 2, "state_root": 1, "token_store": 1}
MOST_EXTENT, MOST_BATCH_TOKENS, MOST_LAYERS, MOST_STAGES = 2**31, 2**36, 10**5, 10**4


@dataclass(frozen=True)
class Beacon:
    first_time: int  # of round 1
    period: int
    value_bytes: int


BEACONS = {"drand-quicknet": Beacon(1692803367, 3, 32), "drand-default": Beacon(1595431050, 30, 32)}


class Contract:
    def __init__(self, digest, value):
        self.digest, self.value = digest, value
        self.stages = value["stages"]
        self.starts = [stage["from_step"] for stage in self.stages]
        self.before = [0]  # sequences of the batches before each stage
        for stage, end in zip(self.stages, self.starts[1:]):
            self.before.append(self.before[-1] + (end - stage["from_step"]) * stage["global_batch"])
        optimizer = value["optimizer"]
        self.optimizer = {**optimizer, **{key: float(optimizer[key]) for key in ("lr", "min_lr_ratio")}}
        self.max_skipped_batches = value.get("max_skipped_batches", -1)  # -1, the neutral value: no limit
        self.beacon_value_bytes = BEACONS[value["beacon"]["name"]].value_bytes if "beacon" in value else 0

    def position(self, batch):
        """docs/formats/batch-order.md: the sequences of batches 1 to `batch`."""
        at = bisect.bisect_right(self.starts, batch) - 1
        if at < 0:
            return 0
        return self.before[at] + (batch - self.starts[at] + 1) * self.stages[at]["global_batch"]

    def batch_tokens(self, batch):
        stage = self.stages[bisect.bisect_right(self.starts, batch) - 1]
        return stage["global_batch"] * stage["context"]

    def learning_rate(self, step):
        return learning_rate(self.optimizer, step)

    @cached_property
    def parameter_names(self):
        return {tensor.name for tensor in declare_parameters(self)}


def check_model(model, grains, where):
    require(model["layers"] <= MOST_LAYERS and all(model[key] <= MOST_EXTENT for key in MODEL if MODEL[key] in (
        "positive", "count")), "a model beyond what this program takes", "extents up to 2^31", model, where)
    width = model["head_dim"] or model["hidden"] // model["heads"]
    whole = (model["head_dim"] > 0 or width * model["heads"] == model["hidden"]) and width % 2 == 0
    cut = all(model[key] % grains == 0 for key in ("kv_heads", "hidden", "ffn"))
    require(whole and cut and model["heads"] % model["kv_heads"] == 0, "the model cannot be cut",
            "docs/formats/parameters.md", model, where)
    sizes = {key: float(model[key]) for key, form in MODEL.items() if form == "real"}
    require(sizes["rope_theta"] > 1 and sizes["norm_eps"] > 0 and sizes["init_std"] > 0 and
            sizes["attention_multiplier"] >= 0 and sizes["residual_multiplier"] != 0 and
            sizes["embedding_multiplier"] != 0 and sizes["logits_multiplier"] != 0,
            "a constant of the model is out of range", "docs/formats/contract.md", sizes, where)


def check_optimizer(optimizer, where):
    real = {key: float(optimizer[key]) for key, form in OPTIMIZER.items() if form == "real"}
    betas = [float(beta) for beta in optimizer["betas"]]
    require(optimizer["kind"] == "adamw" and optimizer["schedule"] in ("cosine", "wsd"), "an optimizer that is not known",
            "adamw; cosine or wsd", optimizer, where)
    require(real["lr"] > 0 and real["eps"] > 0 and real["weight_decay"] >= 0 and real["clip"] >= 0 and
            0 <= real["min_lr_ratio"] <= 1 and len(betas) == 2 and all(0 <= beta < 1 for beta in betas) and
            (optimizer["stable"] == 0 or optimizer["schedule"] == "wsd"),
            "an optimizer that cannot run", "docs/formats/contract.md", optimizer, where)


def check_stages(stages, where):
    require(0 < len(stages) <= MOST_STAGES, "a contract has stages", f"1 to {MOST_STAGES}", len(stages), where)
    before = 0
    for i, stage in enumerate(stages):
        at = f"{where}: stages[{i}]"
        check_members(stage, STAGE, at)
        require(stage["from_step"] == 1 if i == 0 else stage["from_step"] > before, "stages are not in order",
                "1, then ascending", stage["from_step"], at)
        require(max(stage["context"], stage["global_batch"], stage["micro_batch"]) <= MOST_EXTENT and
                stage["global_batch"] * stage["context"] <= MOST_BATCH_TOKENS,
                "a stage of the contract cannot be", "counts up to 2^31, 2^36 tokens", stage, at)
        before = stage["from_step"]


def parse_contract(data, where):
    value = parse_canonical(data, where)
    seed = {"beacon": "object"} if isinstance(value, dict) and "beacon" in value else {"seed": "count"}
    formats = value.get("formats") if isinstance(value, dict) else value
    require(canonical(formats) == canonical(FORMATS), "the contract asks for formats of another version",
            f"{FORMATS}; the build that wrote the run verifies it", formats, where)
    check_members(value, {**dict.fromkeys(("formats", "model", "numerics", "optimizer"), "object"), "format": "text",
                          "sources": "array", "stages": "array", "tokenizer": "digest", **seed}, where,
                  {"max_skipped_batches": "count"})
    require_equal("baekji-contract-1", value["format"], "another format", where)
    if "beacon" in value:
        check_members(value["beacon"], {"name": "text", "round": "positive"}, f"{where}: beacon")
        require(value["beacon"]["name"] in BEACONS, "a beacon that is not known", sorted(BEACONS), value["beacon"], where)
    check_members(value["model"], MODEL, f"{where}: model")
    check_members(value["numerics"], NUMERICS, f"{where}: numerics")
    numerics = value["numerics"]
    require(numerics["precision"] in ("fp32", "bf16", "fp8") and numerics["residual"] in ("compute", "fp32"),
            "a precision that is not known", "fp32, bf16, fp8; compute, fp32", numerics, where)
    check_members(value["optimizer"], OPTIMIZER, f"{where}: optimizer")
    require(numerics["tensor_grains"] <= MOST_EXTENT, "grains beyond what this program takes", "2^31", numerics, where)
    check_model(value["model"], value["numerics"]["tensor_grains"], f"{where}: model")
    check_optimizer(value["optimizer"], f"{where}: optimizer")
    for i, source in enumerate(value["sources"]):
        check_members(source, {"data_root": "digest", "name": "text", "weight": "real"}, f"{where}: sources[{i}]")
    check_stages(value["stages"], where)
    return Contract(sha256(data).hex(), value)


@lru_cache(maxsize=64)
def contract_of(data):
    """For many ledgers of few contracts."""
    return parse_contract(data, "contract")


def read_contract(path):
    data = read_file(path, CONTRACT)
    contract = parse_contract(data, path)
    return contract, f"canonical, {len(data)} bytes, digest {contract.digest}"
