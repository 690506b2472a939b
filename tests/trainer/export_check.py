#!/usr/bin/env python3
"""Holds exported models against Hugging Face's own code, and signatures against the stock model_signing tool.

    export_check.py --baekji PROGRAM --work FOLDER

Trains tiny models with the real program, exports them, and compares with transformers in fp32: logits, probabilities,
greedy text, token ids. Then signs an export and verifies it, before and after one flipped bit. Ends with 77 (skipped) and
the reason when torch, transformers or model_signing are not installed; scripts/export_check installs them.
"""
import argparse
import importlib
import importlib.metadata
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
TOLERANCE = 1e-4
TEXT = "the cat sees the moon. every child forgets 백지, seven stones and\nthe  open door! (naïve 🙂)"
SAMPLES = [TEXT, "a", " a b  c", "x\n\ny\n", "2026-11-24", "my friend draws </s> and <s>", "a<|code|>b <|code|> ", "\u0000tab\there"]
PROMPT = "the old man "
MODELS = {
    "llama": "heads = 4\nkv_heads = 4\nqk_norm = false\ntied_embeddings = false",
    "llama, tied, grouped": "heads = 4\nkv_heads = 2\nqk_norm = false\ntied_embeddings = true\nnorm_eps = 1e-3",
    "qwen3, grouped": "heads = 4\nkv_heads = 2\nqk_norm = true\ntied_embeddings = false\nrope_theta = 500.0",
    "qwen3, tied, wide heads": "heads = 4\nkv_heads = 2\nhead_dim = 24\nqk_norm = true\ntied_embeddings = true",
}
EXPERIMENT = """
[experiment]
name = 'export'
seed = 11
[model]
layers = 3
hidden = 64
ffn = 96
vocab = 351
context = 128
init_std = 0.08
document_mask = true
{model}
[data]
tokenizer = '{work}/tok.model'
[[data.source]]
name = 'a'
path = '{work}/a.h5'
[optimizer]
lr = 2e-2
warmup = 4
decay = 40
[numerics]
global_batch = 8
micro_batch = 2
replicas = 2
tensor_grains = 2
precision = 'fp32'
[run]
steps = 30
checkpoint_every = 0
evaluate_every = 0
evaluate_sequences = 4
output = '{run}'
[log]
tensorboard = false
measure_ceiling = false
"""


class Failed(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Failed(what)


def start(*command, expect=0):
    done = subprocess.run([str(c) for c in command], capture_output=True)
    output = (done.stdout + done.stderr).decode(errors="replace")
    shown = " ".join(str(c) for c in command)
    require((done.returncode == 0) == (expect == 0), f"{shown}\nended with {done.returncode}:\n{output}")
    return done.stdout.decode()


def write_corpus(path):
    rng = random.Random(7)
    subjects = ["the cat", "a dog", "my friend", "the old man", "nobody", "every child"]
    verbs = ["sees", "likes", "finds", "draws", "forgets", "remembers"]
    objects = ["the moon", "a blank page", "백지", "seven stones", "the river", "an open door"]
    with open(path, "w") as file:
        for _ in range(150):
            lines = [f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(objects)}." for _ in range(12)]
            text = "".join(line + rng.choice([" ", "  ", "\n"]) for line in lines)
            file.write(json.dumps({"text": text}) + "\n")


class Check:
    def __init__(self, baekji, work):
        self.baekji = baekji
        self.work = work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_corpus(work / "a.jsonl")
        start(baekji, "tokenizer", "--input", work / "a.jsonl", "--vocab", 349, "--symbol", "<|code|>",
              "--output", work / "tok.model")
        start(baekji, "data", "--tokenizer", work / "tok.model", "--input", work / "a.jsonl", "--output", work / "a.h5")

    def train(self, name, model):
        run = self.work / name.replace(", ", "-").replace(" ", "-")
        toml = run.with_suffix(".toml")
        toml.write_text(EXPERIMENT.format(model=model, work=self.work, run=run))
        start(self.baekji, "train", toml)
        return run

    def export(self, run, *options):
        folder = run / ("hf" + "".join(options).replace("--", "-"))
        start(self.baekji, "export", run, "--output", folder, *options)
        return folder

    def score(self, run, text):
        path = self.work / "text.txt"
        path.write_text(text)
        return json.loads(start(self.baekji, "score", run, "--text", path, "--json", "--logits"))

    def logits(self, run, folder):
        """The largest differences of logits and of log-probabilities, and that of a model with its rotary pairs mixed up."""
        import torch
        from transformers import AutoModelForCausalLM

        ours = self.score(run, TEXT)
        ids = torch.tensor([[token["id"] for token in ours["tokens"]]])
        model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        require(not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), f"{report}")
        model.eval()
        with torch.no_grad():
            logits = model(ids).logits[0].double()
            probabilities = torch.log_softmax(logits, -1)[:-1].gather(1, ids[0][1:, None])[:, 0]
            weight = model.model.layers[0].self_attn.q_proj.weight
            weight.copy_(weight.view(-1, 2, model.config.head_dim // 2, 64).transpose(1, 2).reshape(weight.shape))
            control = model(ids).logits[0].double()
        expected = torch.tensor(ours["logits"], dtype=torch.float64)
        said = torch.tensor([t["log_probability"] for t in ours["tokens"][1:]], dtype=torch.float64)
        differences = [(logits - expected).abs().max(), (probabilities - said).abs().max()]
        control = (control - expected).abs().max()
        require(max(differences) < TOLERANCE, f"logits, log-probabilities differ by {differences}")
        require(control > 100 * TOLERANCE, f"mixed-up rotary pairs change logits by {control} only")
        return [float(d) for d in (*differences, expected.abs().max(), control)]

    def text(self, run, folder):
        """Token ids and their text, and what greedy sampling makes of a prompt."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        same = 0
        for sample in SAMPLES:
            if len(sample) < 2:
                continue
            ids = [token["id"] for token in self.score(run, sample)["tokens"]]
            theirs = tokenizer(sample)["input_ids"]
            require(theirs == ids, f"{sample!r}: transformers gives {theirs}, the program {ids}")
            back = tokenizer.decode(ids)
            require(back == sample, f"{sample!r} comes back as {back!r}")
            back = tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True)
            require(back == sample, f"{sample!r} and EOS come back as {back!r}")
            same += 1
        require(tokenizer.eos_token_id == 2, f"EOS is {tokenizer.eos_token_id}")
        ours = start(self.baekji, "generate", run, "--prompt", PROMPT, "--tokens", 40, "--temperature", 0)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False,
                              pad_token_id=tokenizer.eos_token_id)
        theirs = tokenizer.decode(made[0], skip_special_tokens=True) + "\n"
        require(theirs == ours, f"greedy text: transformers {theirs!r}, the program {ours!r}")
        return same, ours

    def forms_of_one(self, run, whole):
        """In shards and in bf16 the weights are the same; safetensors' own reader takes every file."""
        import torch
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM

        weights = load_file(whole / "model.safetensors")
        shards = self.export(run, "--shard-bytes", "50000")
        files = sorted(shards.glob("*.safetensors"))
        parts = {name: tensor for file in files for name, tensor in load_file(file).items()}
        require(parts.keys() == weights.keys(), "shards hold other tensors")
        require(all(torch.equal(parts[n], weights[n]) for n in weights), "shards hold other values")
        loaded = AutoModelForCausalLM.from_pretrained(shards, dtype=torch.float32).state_dict()
        require(all(torch.equal(loaded[n], weights[n]) for n in weights), "transformers reads other values from shards")
        half = load_file(self.export(run, "--dtype", "bf16") / "model.safetensors")
        require(all(torch.equal(half[n], weights[n].bfloat16()) for n in weights), "bf16 is rounded otherwise")
        return len(files)

    def signatures(self, run, folder):
        """The stock tool accepts the signature, and refuses a flipped bit, another file and another key."""
        keys = {}
        for name in ("owner", "stranger"):
            keys[name] = self.work / f"{name}.pem"
            start("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", keys[name])
            start("openssl", "pkey", "-in", keys[name], "-pubout", "-out", keys[name].with_suffix(".pub"))
        signed = self.work / "signed"
        start(self.baekji, "attest", run, "--key", keys["owner"], "--output", signed, "--export", folder)

        def verify(key="owner", expect=0):
            start(sys.executable, "-m", "model_signing", "verify", "key", folder, "--signature", signed / "model.sig",
                  "--public_key", keys[key].with_suffix(".pub"), expect=expect)

        verify()
        verify("stranger", expect=1)
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        verify(expect=1)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        verify()
        (folder / "more.bin").write_bytes(b"x")
        verify(expect=1)
        (folder / "more.bin").unlink()
        shutil.copy(signed / "model.sig", folder / "model.sig")  # where the tool itself would put it
        verify()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--baekji", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    try:
        for module in ("torch", "transformers", "safetensors", "model_signing"):
            importlib.import_module(module)
            print(f"{module} {importlib.metadata.version(module.replace('_', '-'))}")
    except ImportError as error:
        print(f"SKIPPED: {error}; scripts/export_check installs what this needs")
        return SKIPPED
    try:
        check = Check(args.baekji.resolve(), args.work.resolve())
        for name, model in MODELS.items():
            run = check.train(name, model)
            folder = check.export(run)
            logit, probability, largest, control = check.logits(run, folder)
            print(f"{name}: logits differ by {logit:.1e} (largest {largest:.1f}), log-probabilities by {probability:.1e}; "
                  f"with rotary pairs mixed up by {control:.1e}")
            samples, text = check.text(run, folder)
            print(f"{name}: {samples} texts have the same token ids and come back; greedy text is the same: {text!a}")
        print(f"{name}: the same weights in {check.forms_of_one(run, folder)} shards, and rounded in bf16")
        check.signatures(run, folder)
        print("model_signing: verifies; refuses a flipped bit, one file more, another key")
    except Failed as failure:
        print(f"FAILED: {failure}")
        return 1
    print("export_check: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
