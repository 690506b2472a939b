"""Who is measured when, what there was no time for, and the table: everything of bench/gpu/run that needs no GPU, so that a test
can hold it. A record is {"turn": {...}, "seconds": of the whole process, "result": its JSON} or, without a result, "why"."""

import statistics

from cases import SETTINGS

BEST = "the best so far"
# Seconds of a whole process before one like it has been seen: start, ceilings and step 0 of ours; import and compilation of
# PyTorch. Guesses, and meant to be high: a measurement that was begun in vain costs more than one that was left out.
FIRST_GUESS_S = {"ours": 40, "ours, quick": 25, "compiled": 150, "CUDA graphs": 200, "autotuned": 700}


def plan(models, precisions, settings, rounds):
    """The turns in order. First each model once in ours and in the first setting of the peer, then the other settings, then the
    rounds that are left between ours and the best setting that was seen."""
    turns = []

    def ours(model, number):
        return [{"who": "ours", "model": model, "precision": precision, "round": number} for precision in precisions]

    def peer(model, setting, number):
        return {"who": "peer", "model": model, "setting": setting, "round": number}

    for model in models:
        first, *others = ours(model, 1)
        turns += [first, *([peer(model, settings[0], 1)] if settings else []), *others]
    for model in models:
        turns += [peer(model, setting, 1) for setting in settings[1:]]
    for number in range(2, rounds + 1):
        for model in models:
            first, *others = ours(model, number)
            turns += [first, *([peer(model, BEST, number)] if settings else []), *others]
    return turns


def name_of(turn):
    return f"{turn['model']}, {turn['who']}, {turn.get('setting') or turn['precision']}, round {turn['round']}"


def key_of(turn):
    return turn["who"], turn["model"], turn.get("setting") or turn["precision"]


def resolve(turn, records):
    """The turn with its setting written out. None: no setting has worked for this model, or this very thing has failed before."""
    if turn.get("setting") == BEST:
        best = best_peer(records, turn["model"])
        if best is None:
            return None
        turn = {**turn, "setting": best["turn"]["setting"]}
    failed = any("why" in record and key_of(record["turn"]) == key_of(turn) for record in records)
    return None if failed else turn


def estimate_s(turn, records, quick):
    """Seconds that a turn will take: what it took the last time, else a guess."""
    seen = [record["seconds"] for record in records if key_of(record["turn"]) == key_of(turn)]
    if seen:
        return seen[-1]
    if turn["who"] == "ours":
        return FIRST_GUESS_S["ours, quick" if quick else "ours"]
    return next(seconds for kind, seconds in FIRST_GUESS_S.items() if turn["setting"].startswith(kind))


def take(turns, measure, now, limit_s, quick=False):
    """Takes the turns one after another; `measure(turn, seconds that are left or None)` gives a record. Nothing starts that would
    not end before `limit_s` seconds of `now()` by its estimate. Returns (records, what was left out)."""
    records, left_out = [], []
    for planned in turns:
        turn = resolve(planned, records)
        if turn is None:
            continue
        left_s = None if limit_s is None else limit_s - now()
        if left_s is not None and estimate_s(turn, records, quick) > left_s:
            left_out.append({"turn": turn, "estimate_s": round(estimate_s(turn, records, quick)), "left_s": round(max(left_s, 0))})
            continue
        records.append(measure(turn, left_s))
    return records, left_out


# ---- the table ----


def good(records, who, model):
    return [r for r in records if "result" in r and r["turn"]["who"] == who and r["turn"]["model"] == model]


def peer_rates(records, model):
    """setting -> tokens/s of each round."""
    rates = {}
    for record in good(records, "peer", model):
        rates.setdefault(record["turn"]["setting"], []).append(record["result"]["tokens_per_s"])
    return rates


def best_peer(records, model, precision=None):
    """A record of the setting with the highest median; of those with this precision, if one is given."""
    rates = {setting: statistics.median(values) for setting, values in peer_rates(records, model).items()
             if precision is None or SETTINGS[setting]["precision"] == precision}
    if not rates:
        return None
    best = max(rates, key=rates.get)
    return next(r for r in good(records, "peer", model) if r["turn"]["setting"] == best)


def median_of(records, field):
    return statistics.median(record["result"][field] for record in records)


def row_of(ours, theirs, bf16_rate):
    """One line of the table: our records of one model and precision against the peer's of its best setting."""
    result = ours[-1]["result"]
    rates = [record["result"]["tokens_per_s"] for record in ours]
    row = {"model": ours[0]["turn"]["model"], "precision": ours[0]["turn"]["precision"], "rounds": len(ours),
           "tokens_per_s": statistics.median(rates), "least": min(rates), "most": max(rates), "tflops": median_of(ours, "tflops"),
           "mfu": median_of(ours, "mfu"), "ceiling_tflops": median_of(ours, "ceiling_tflops"),
           "taken_bytes": max(record["result"]["taken_bytes"] for record in ours), "planned_bytes": result["planned_bytes"]}
    if bf16_rate and row["precision"] == "fp8":
        row["over_bf16"] = row["tokens_per_s"] / bf16_rate
    if theirs:
        last = theirs[-1]["result"]
        row.update(peer_setting=theirs[0]["turn"]["setting"], peer_rounds=len(theirs), peer_tokens_per_s=median_of(theirs, "tokens_per_s"),
                   peer_tflops=median_of(theirs, "tflops"),
                   peer_taken_bytes=max(record["result"]["taken_bytes"] for record in theirs),
                   peer_allocated_bytes=last["allocated_bytes"], peer_reserved_bytes=last["reserved_bytes"])
        row["ratio"] = row["tokens_per_s"] / row["peer_tokens_per_s"]
        flops = (result["tflops"] / result["tokens_per_s"], last["tflops"] / last["tokens_per_s"])
        if abs(flops[0] / flops[1] - 1) > 1e-6:
            row["mistake"] = f"not the same model: {flops[0] * 1e12:.6g} and {flops[1] * 1e12:.6g} FLOPs per token"
    return row


def rows_of(records):
    rows = []
    for model in dict.fromkeys(record["turn"]["model"] for record in records):
        by_precision = {}
        for record in good(records, "ours", model):
            by_precision.setdefault(record["turn"]["precision"], []).append(record)
        best = best_peer(records, model)
        theirs = [r for r in good(records, "peer", model) if best and r["turn"]["setting"] == best["turn"]["setting"]]
        bf16 = median_of(by_precision["bf16"], "tokens_per_s") if "bf16" in by_precision else None
        rows += [row_of(ours, theirs, bf16) for ours in by_precision.values()]
    return rows


def table_of(rows):
    """The lines of the one table."""
    head = (f"{'model':<11}{'precision':<10}{'tokens/s':>10}{'peer':>10}{'ratio':>7}{'TFLOP/s':>9}{'mfu':>7}{'ceiling':>9}{'peer TF/s':>10}"
            f"{'GiB taken':>10}{'planned':>9}{'peer':>7}  peer's best setting")
    lines = [head]
    for r in rows:
        gib = {name: f"{r[name] / 2**30:.1f}" for name in ("taken_bytes", "planned_bytes", "peer_taken_bytes") if name in r}
        theirs = "peer_setting" in r
        lines.append(f"{r['model']:<11}{r['precision']:<10}{r['tokens_per_s']:>10,.0f}"
                     f"{format(r['peer_tokens_per_s'], ',.0f') if theirs else '-':>10}{format(r['ratio'], '.3f') if theirs else '-':>7}"
                     f"{r['tflops']:>9.1f}{r['mfu']:>7.1%}{r['ceiling_tflops']:>9.1f}"
                     f"{format(r['peer_tflops'], '.1f') if theirs else '-':>10}{gib['taken_bytes']:>10}{gib['planned_bytes']:>9}"
                     f"{gib.get('peer_taken_bytes', '-'):>7}  {r.get('peer_setting', 'OURS ALONE: no figure of the peer')}")
    for r in rows:
        if "over_bf16" in r:
            lines.append(f"{r['model']}: fp8 at {r['over_bf16']:.3f} of our own bf16")
        if "mistake" in r:
            lines.append(f"{r['model']}: {r['mistake']}")
    return lines


def peer_table_of(records):
    """Every setting of the peer that was tried."""
    lines = []
    for model in dict.fromkeys(record["turn"]["model"] for record in records):
        for setting, rates in peer_rates(records, model).items():
            lines.append(f"{model:<11}{setting:<44}{statistics.median(rates):>10,.0f} tokens/s, {len(rates)} rounds")
    for record in records:
        if "why" in record:
            lines.append(f"{name_of(record['turn'])}: {record['why']}")
    return lines


def left_out_lines(left_out):
    return [f"left out, no time: {name_of(item['turn'])} (about {item['estimate_s']} s, {item['left_s']} s were left)" for item in left_out]
