#!/usr/bin/env python3
"""Writes tests/fuzz/corpus: what the fuzz targets begin with. Run it again when a format changes.

    make_corpus.py RUN     a small run folder with a log (scripts/folder_fuzz leaves one in build/folder_fuzz/honest)
"""

import json
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
CORPUS = SOURCE / "tests" / "fuzz" / "corpus"


def put(target, name, data):
    folder = CORPUS / f"{target}_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.seed").write_bytes(data.encode() if isinstance(data, str) else data)


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def ledger(run):
    lines = (run / "ledger.jsonl").read_text().splitlines()
    put("ledger", "whole", "\n".join(lines[:6]) + "\n")
    put("ledger", "torn", "\n".join(lines[:3]) + "\n" + lines[3][:100])
    bodies = [f"{record['kind']} {canonical(record['body'])}" for record in map(json.loads, lines)]
    put("ledger", "chained", "+" + "\n".join(bodies[:6]))
    end = bodies[-1]
    events = [{"event": "rollback", "to": 1, "skip": [2, 2]}, {"event": "divergence", "step": 1, "members": ["loss"]},
              {"event": "recheck", "step": 1}, {"event": "opened", "step": 1}, {"event": "spike", "step": 1},
              {"event": "restart", "step": 1, "hosts": ["0" * 64]}]
    for event in events:
        put("ledger", event["event"], "+" + "\n".join(bodies[:4] + ["event " + canonical(event), end]))
    put("ledger", "deep", "[" * 3000)


def others(run):
    manifest = sorted(run.glob("checkpoints/step-*/manifest.json"))[0].read_text()
    put("manifest", "whole", manifest)
    put("manifest", "body", "+" + canonical(json.loads(manifest)["body"]))
    contract = (run / "contract.json").read_text()
    put("contract", "whole", contract)
    put("contract", "spellings", '{"a":[1,-2,true,null,"\\u001b"],"b":{}}')
    put("contract", "deep", "[" * 100 + "]" * 100)
    put("notes", "checkpoint", (run / "log" / "checkpoint").read_bytes())
    key, line = "A" * 43 + "=", "\n\u2014 baekji/x " + "A" * 92 + "\n"
    put("notes", "opening", (run / "log" / "opening").read_bytes())
    put("notes", "contract", f"baekji/contract/v2\n{'0' * 64}\na/b\nbeacon drand-quicknet 1000\n" + line.replace("x", "contract"))
    put("notes", "key", f"baekji/key/{'0' * 64}\n{key}\n{key[:-2]}E=\n7\n" + line)
    put("notes", "revoked", f"baekji/revoked/{'0' * 64}\n{key}\n7\n" + line)
    put("experiment", "resolved", (run / "experiment.toml").read_text().replace(str(run.resolve().parent), "runs"))
    put("experiment", "dotted", "a" + ".a" * 50 + " = 1\n")
    subject = [{"name": "ledger.jsonl#last-line", "digest": {"sha256": "0" * 64}}]
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": "x", "predicate": {"records": 1}}
    put("statements", "statement", canonical(statement))
    envelope = {"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid": "0" * 64, "sig": "AA=="}]}
    put("statements", "envelope", canonical(envelope))


def texts():
    smallest = min((SOURCE / "configs" / "clusters").glob("*.toml"), key=lambda path: path.stat().st_size)
    put("cluster", "smallest", smallest.read_bytes())
    put("schedule", "two", "schedule pipeline 2 virtual_stages 1 micro_batches 2\n"
        "0: F0 SF0 F1 SF1 RB0 I0 W0 RB1 I1 W1\n1: RF0 F0 I0 SB0 RF1 F1 I1 SB1 W0 W1\n")
    put("documents", "jsonl", b'\0{"text": "one"}\n{"text": "two \\ud55c"}\n')
    put("documents", "text", b"\5one\n%\ntwo\n")
    put("tokenizer", "text", "the model 7 learns 모델은 <|user|> 배운다\n")
    put("tokenizer", "bytes", b"\xff\xc0\x00\xed\xa0\x80")
    put("token_store", "byte", b"\x08\x10\x01")
    put("token_store", "cut", b"\x04\x00")


def main():
    run = Path(sys.argv[1])
    ledger(run)
    others(run)
    texts()
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    print(f"{len(files)} inputs, {sum(path.stat().st_size for path in files)} bytes")


if __name__ == "__main__":
    main()
