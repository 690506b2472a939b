#!/usr/bin/env python3
"""An independent implementation of the training recipe, NumPy float64 only: data order, step 0, model, gradient, AdamW.

  reference_training.py          trains ten steps; prints loss and gradient norm of each as a C++ initialiser
  reference_training.py --check  compares the hand-written gradient with central differences, one random direction per
                                 parameter; fails when they disagree
  reference_training.py --data F writes the two token sources to F: one line per source, "name training_tokens ids..."

It knows nothing of grains, replicas, micro-batches or loss chunks: mathematically they change nothing, so a framework
that computes with them must reach these losses up to the rounding of its own precision.

Dims: B sequences, T positions, C hidden, H query heads, K key/value heads, D head width, F inner width, V vocabulary.
"""
import argparse
import hashlib
import struct
import sys

import numpy as np

LAYERS, HIDDEN, HEADS, KV_HEADS, FFN, VOCAB, CONTEXT = 2, 32, 4, 2, 48, 97, 16
HEAD_WIDTH = HIDDEN // HEADS
ROPE_THETA, NORM_EPS, INIT_STD = 10000.0, 1e-5, 0.02
SEED, STEPS, GLOBAL_BATCH = 42, 10, 8
WEIGHTS = (0.7, 0.3)  # of the two sources
PEAK, WARMUP, DECAY, MIN_RATIO = 1e-2, 3, 20, 0.1
BETA1, BETA2, ADAM_EPS, WEIGHT_DECAY, CLIP = 0.9, 0.95, 1e-8, 0.1, 1.0

EOS = 0
MASK64 = (1 << 64) - 1


# ---------------------------------------------------------------------------------------------- the two token sources

class Lcg:
    """Knuth's MMIX generator; the high bits."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK64
        return (self.state >> 33) % bound


class Source:
    """Documents of 3 to 22 tokens and EOS; three tokens of four follow from the one before, by a rule of the source."""

    def __init__(self, name, lcg_seed, documents, step):
        self.name = name
        lcg = Lcg(lcg_seed)
        tokens = []
        held_out = documents // 8
        for document in range(documents):
            if document == documents - held_out:
                self.train_tokens = len(tokens)
            previous = lcg.below(VOCAB - 1)
            for _ in range(3 + lcg.below(20)):
                guided = lcg.below(4) != 0
                previous = (5 * previous + step) % (VOCAB - 1) if guided else lcg.below(VOCAB - 1)
                tokens.append(1 + previous)
            tokens.append(EOS)
        self.tokens = np.array(tokens, dtype=np.int64)


def make_sources():
    return [Source("alpha", 11, 60, 7), Source("beta", 23, 20, 31)]


# ------------------------------------------------------------------------------------------------------ random numbers

def philox4x32(counter, key):
    """Ten rounds of Philox4x32 (Salmon et al. 2011) on arrays of 32-bit words held in uint64."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (b >> shift) ^ c1 ^ np.uint64(k0), b & low, (a >> shift) ^ c3 ^ np.uint64(k1), a & low
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def derive_key(domain, name):
    digest = hashlib.sha256(domain.encode() + b"\0" + struct.pack("<Q", SEED) + name.encode()).digest()
    return struct.unpack("<II", digest[:8])


def stream_words(domain, name, index):
    """64-bit words number `index` (an array) of a stream: two to a Philox block."""
    index = np.asarray(index, dtype=np.uint64)
    block = index >> np.uint64(1)
    zero = np.zeros_like(block)
    words = philox4x32((block & np.uint64(0xFFFFFFFF), block >> np.uint64(32), zero, zero), derive_key(domain, name))
    first = words[0] | words[1] << np.uint64(32)
    second = words[2] | words[3] << np.uint64(32)
    return np.where(index & np.uint64(1), second, first)


def permute(domain, name, size, index):
    """Element `index` of the keyed permutation of [0, size): six Feistel rounds, cycle walking."""
    key = derive_key(domain, name)
    bits = max((size - 1).bit_length(), 1)
    half = np.uint64((bits + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    value = np.atleast_1d(np.asarray(index, dtype=np.uint64)).copy()
    active = np.ones(value.shape, dtype=bool)
    while active.any():
        left, right = value >> half, value & mask
        for step in range(6):
            zero = np.zeros_like(right)
            out = philox4x32((right & np.uint64(0xFFFFFFFF), right >> np.uint64(32), zero + np.uint64(step),
                              zero + np.uint64(1)), key)
            left, right = right, left ^ ((out[0] | out[1] << np.uint64(32)) & mask)
        value = np.where(active, left << half | right, value)
        active = value >= np.uint64(size)
    return value.astype(np.int64)


def normal_quantile(p):
    """Algorithm AS 241, PPND16 (Wichura 1988)."""
    central = ((2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
                13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
               (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
                5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0))
    middle = ((7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
               3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
              (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
               6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0))
    tail = ((2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
             2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720),
            (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
             7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
             5.99832206555887937690e-1, 1.0))

    def ratio(pair, x):
        return np.polyval(pair[0], x) / np.polyval(pair[1], x)

    q = p - 0.5
    r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
    outer = np.where(r <= 5.0, ratio(middle, r - 1.6), ratio(tail, r - 5.0))
    return np.where(np.abs(q) <= 0.425, q * ratio(central, 0.180625 - q * q), np.sign(q) * outer)


# --------------------------------------------------------------------------------------------------------- batch order

class BatchOrder:
    BLOCK = 4096

    def __init__(self, sources):
        self.sources = sources
        share = [w / sum(WEIGHTS) * self.BLOCK for w in WEIGHTS]
        quotas = [int(s) for s in share]
        for s in sorted(range(len(share)), key=lambda i: quotas[i] - share[i])[:self.BLOCK - sum(quotas)]:
            quotas[s] += 1
        cards = np.repeat(np.arange(len(quotas)), quotas)
        if STEPS * GLOBAL_BATCH > self.BLOCK:
            sys.exit("more than one mixture block is not needed here")
        self.source_of = cards[permute("baekji.mixture", "stage 0 block 0", self.BLOCK, np.arange(self.BLOCK))]

    def sequence(self, step, index):
        """The CONTEXT + 1 tokens of sequence `index` of step `step` (from 1), and the pass over its source."""
        n = (step - 1) * GLOBAL_BATCH + index
        source = self.sources[self.source_of[n]]
        ordinal = int(np.count_nonzero(self.source_of[:n] == self.source_of[n]))
        spans, slack = divmod(source.train_tokens - 1, CONTEXT)
        turn, span = divmod(ordinal, spans)
        phase = int(stream_words("baekji.phase", source.name, turn)) * (slack + 1) >> 64
        place = int(permute("baekji.spans", f"pass {turn}/{source.name}", spans, span)[0])
        begin = phase + place * CONTEXT
        return source.tokens[begin:begin + CONTEXT + 1], turn

    def batch(self, step):
        rows = np.stack([self.sequence(step, i)[0] for i in range(GLOBAL_BATCH)])
        return rows[:, :-1], rows[:, 1:]


# --------------------------------------------------------------------------------------------------------------- model

def genesis():
    """Step 0: normal numbers by tensor name and index, rounded once to fp32; gains are 1."""
    into_stream = INIT_STD / np.sqrt(2.0 * LAYERS)
    parameters = {}

    def matrix(name, rows, columns, std):
        words = stream_words("baekji.genesis.v1", name, np.arange(rows * columns))
        uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        values = (normal_quantile(uniform) * std).astype(np.float32)
        parameters[name] = values.astype(np.float64).reshape(rows, columns)

    matrix("embedding", VOCAB, HIDDEN, INIT_STD)
    for layer in range(LAYERS):
        attention, feed_forward = f"layers.{layer}.attention.", f"layers.{layer}.feed_forward."
        parameters[attention + "norm"] = np.ones(HIDDEN)
        matrix(attention + "q", HEADS * HEAD_WIDTH, HIDDEN, INIT_STD)
        matrix(attention + "k", KV_HEADS * HEAD_WIDTH, HIDDEN, INIT_STD)
        matrix(attention + "v", KV_HEADS * HEAD_WIDTH, HIDDEN, INIT_STD)
        parameters[attention + "q_norm"] = np.ones(HEAD_WIDTH)
        parameters[attention + "k_norm"] = np.ones(HEAD_WIDTH)
        matrix(attention + "output", HIDDEN, HEADS * HEAD_WIDTH, into_stream)
        parameters[feed_forward + "norm"] = np.ones(HIDDEN)
        matrix(feed_forward + "gate", FFN, HIDDEN, INIT_STD)
        matrix(feed_forward + "up", FFN, HIDDEN, INIT_STD)
        matrix(feed_forward + "down", HIDDEN, FFN, into_stream)
    parameters["final_norm"] = np.ones(HIDDEN)
    matrix("head", VOCAB, HIDDEN, INIT_STD)
    return parameters


def decays(name):
    return not name.endswith("norm") and name != "embedding"


def document_layout(token_BT):
    """Position of each token in its document (or since the sequence began), and who may attend to whom."""
    T = token_BT.shape[1]
    ended = np.cumsum(token_BT == EOS, axis=1)
    document = np.concatenate([np.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1)
    same = document[:, :, None] == document[:, None, :]
    visible_BTT = same & np.tri(T, dtype=bool)
    position_BT = visible_BTT.sum(axis=2) - 1
    return position_BT, visible_BTT


def rms_norm(x, gain):
    r = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + NORM_EPS)
    return x * r * gain, r


def rms_norm_backward(x, gain, r, dy):
    """dx, dgain. With h = x r: dx = r (g - h mean(g h)), g = dy gain."""
    h = x * r
    g = dy * gain
    dx = r * (g - h * np.mean(g * h, axis=-1, keepdims=True))
    return dx, (dy * h).reshape(-1, h.shape[-1]).sum(axis=0)


def rotary(position_BT):
    pairs = HEAD_WIDTH // 2
    angle = position_BT[:, :, None, None] * ROPE_THETA ** (-np.arange(pairs) / pairs)
    return np.cos(angle), np.sin(angle)


def rotate(x, cos, sin):
    """The pairs (i, i + D/2) of each head, turned (Su et al. 2021, in the half-split form); -sin turns back."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def linear_backward(x, w, dy):
    """dx, dw of y = x w^T."""
    return dy @ w, dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def to_heads(x, heads):
    return x.reshape(*x.shape[:2], heads, HEAD_WIDTH)


def attention_forward(p, at, x, layout):
    c = {"x": x}
    cos, sin, visible = layout
    c["normed"], c["r"] = rms_norm(x, p[at + "norm"])
    for name, heads in (("q", HEADS), ("k", KV_HEADS)):
        c[name + "_raw"] = to_heads(c["normed"] @ p[at + name].T, heads)
        scaled, c[name + "_r"] = rms_norm(c[name + "_raw"], p[at + name + "_norm"])
        c[name] = rotate(scaled, cos, sin)
    c["v"] = to_heads(c["normed"] @ p[at + "v"].T, KV_HEADS)
    group = HEADS // KV_HEADS
    c["k_wide"], c["v_wide"] = np.repeat(c["k"], group, axis=2), np.repeat(c["v"], group, axis=2)
    scores = np.einsum("bthd,bshd->bhts", c["q"], c["k_wide"]) / np.sqrt(HEAD_WIDTH)
    scores = np.where(visible[:, None], scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    c["prob"] = e / e.sum(axis=-1, keepdims=True)
    mixed = np.einsum("bhts,bshd->bthd", c["prob"], c["v_wide"])
    c["mixed"] = mixed.reshape(*x.shape[:2], -1)
    return x + c["mixed"] @ p[at + "output"].T, c


def attention_backward(p, at, c, dy, layout, gradient):
    cos, sin, _ = layout
    dmixed, gradient[at + "output"] = linear_backward(c["mixed"], p[at + "output"], dy)
    dmixed = to_heads(dmixed, HEADS)
    dprob = np.einsum("bthd,bshd->bhts", dmixed, c["v_wide"])
    dv = np.einsum("bhts,bthd->bshd", c["prob"], dmixed)
    dscores = c["prob"] * (dprob - (dprob * c["prob"]).sum(axis=-1, keepdims=True)) / np.sqrt(HEAD_WIDTH)
    dq = np.einsum("bhts,bshd->bthd", dscores, c["k_wide"])
    dk = np.einsum("bhts,bthd->bshd", dscores, c["q"])

    def narrow(d):  # the query heads of a group share one key/value head
        return d.reshape(*d.shape[:2], KV_HEADS, HEADS // KV_HEADS, HEAD_WIDTH).sum(axis=3)

    dnormed = 0.0
    for name, d in (("q", dq), ("k", narrow(dk))):
        d, gradient[at + name + "_norm"] = rms_norm_backward(
            c[name + "_raw"], p[at + name + "_norm"], c[name + "_r"], rotate(d, cos, -sin))
        part, gradient[at + name] = linear_backward(c["normed"], p[at + name], d.reshape(*d.shape[:2], -1))
        dnormed = dnormed + part
    dv = narrow(dv)
    part, gradient[at + "v"] = linear_backward(c["normed"], p[at + "v"], dv.reshape(*dv.shape[:2], -1))
    dx, gradient[at + "norm"] = rms_norm_backward(c["x"], p[at + "norm"], c["r"], dnormed + part)
    return dy + dx


def feed_forward(p, at, x):
    """SwiGLU (Shazeer 2020)."""
    c = {"x": x}
    c["normed"], c["r"] = rms_norm(x, p[at + "norm"])
    c["gate"], c["up"] = c["normed"] @ p[at + "gate"].T, c["normed"] @ p[at + "up"].T
    c["sigmoid"] = 1.0 / (1.0 + np.exp(-c["gate"]))
    c["inner"] = c["gate"] * c["sigmoid"] * c["up"]
    return x + c["inner"] @ p[at + "down"].T, c


def feed_forward_backward(p, at, c, dy, gradient):
    dinner, gradient[at + "down"] = linear_backward(c["inner"], p[at + "down"], dy)
    s = c["sigmoid"]
    dgate = dinner * c["up"] * (s + c["gate"] * s * (1.0 - s))
    dup = dinner * c["gate"] * s
    dgate_in, gradient[at + "gate"] = linear_backward(c["normed"], p[at + "gate"], dgate)
    dup_in, gradient[at + "up"] = linear_backward(c["normed"], p[at + "up"], dup)
    dx, gradient[at + "norm"] = rms_norm_backward(c["x"], p[at + "norm"], c["r"], dgate_in + dup_in)
    return dy + dx


def loss_and_gradient(p, token_BT, target_BT):
    """The mean loss over all tokens, and its gradient by parameter name."""
    position_BT, visible = document_layout(token_BT)
    layout = (*rotary(position_BT), visible)
    x = p["embedding"][token_BT]
    caches = []
    for layer in range(LAYERS):
        x, attention = attention_forward(p, f"layers.{layer}.attention.", x, layout)
        x, inner = feed_forward(p, f"layers.{layer}.feed_forward.", x)
        caches.append((attention, inner))
    normed, r = rms_norm(x, p["final_norm"])
    logits = normed @ p["head"].T
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    log_prob = logits - log_sum
    loss = -np.take_along_axis(log_prob, target_BT[..., None], axis=-1).mean()

    gradient = {}
    dlogits = (np.exp(log_prob) - np.eye(VOCAB)[target_BT]) / target_BT.size
    dnormed, gradient["head"] = linear_backward(normed, p["head"], dlogits)
    dx, gradient["final_norm"] = rms_norm_backward(x, p["final_norm"], r, dnormed)
    for layer in reversed(range(LAYERS)):
        attention, inner = caches[layer]
        dx = feed_forward_backward(p, f"layers.{layer}.feed_forward.", inner, dx, gradient)
        dx = attention_backward(p, f"layers.{layer}.attention.", attention, dx, layout, gradient)
    gradient["embedding"] = np.zeros_like(p["embedding"])
    np.add.at(gradient["embedding"], token_BT, dx)
    return loss, gradient


# ----------------------------------------------------------------------------------------------------------- optimizer

def learning_rate(step):
    if step <= WARMUP:
        return PEAK * step / WARMUP
    progress = min(1.0, (step - WARMUP) / DECAY)
    return PEAK * (MIN_RATIO + (1.0 - MIN_RATIO) * 0.5 * (1.0 + np.cos(np.pi * progress)))


class AdamW:
    """Loshchilov and Hutter 2019, after clipping by the global norm."""

    def __init__(self, parameters):
        self.moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in parameters.items()}

    def step(self, parameters, gradient, step):
        """Updates the parameters; the norm of the gradient before clipping."""
        norm = np.sqrt(sum((g * g).sum() for g in gradient.values()))
        scale = min(1.0, CLIP / norm)
        rate = learning_rate(step)
        for name, w in parameters.items():
            g = gradient[name] * scale
            first, second = self.moments[name]
            first += (1.0 - BETA1) * (g - first)
            second += (1.0 - BETA2) * (g * g - second)
            direction = first / (1.0 - BETA1**step) / (np.sqrt(second / (1.0 - BETA2**step)) + ADAM_EPS)
            w -= rate * (direction + (WEIGHT_DECAY * w if decays(name) else 0.0))
        return norm


def train(steps):
    """Yields the loss before each step, the gradient norm before clipping, and the parameters after the step."""
    order = BatchOrder(make_sources())
    parameters = genesis()
    optimizer = AdamW(parameters)
    for step in range(1, steps + 1):
        token_BT, target_BT = order.batch(step)
        loss, gradient = loss_and_gradient(parameters, token_BT, target_BT)
        yield loss, optimizer.step(parameters, gradient, step), parameters


def check_gradient():
    """Directional derivatives after some training, where no parameter is near its start."""
    *_, (_, _, p) = train(STEPS)
    token_BT, target_BT = BatchOrder(make_sources()).batch(STEPS + 1)
    _, gradient = loss_and_gradient(p, token_BT, target_BT)
    random = np.random.default_rng(1)
    worst = 0.0
    h = 1e-4
    for name in p:
        direction = random.standard_normal(p[name].shape)
        direction /= np.linalg.norm(direction)

        def at(distance):
            moved = dict(p, **{name: p[name] + distance * direction})
            return loss_and_gradient(moved, token_BT, target_BT)[0]

        # Fourth order, so that neither rounding nor the step's own error hides a mistake.
        numeric = (8.0 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12.0 * h)
        exact = (gradient[name] * direction).sum()
        error = abs(numeric - exact) / np.linalg.norm(gradient[name])
        worst = max(worst, error)
        if error > 1e-8:
            sys.exit(f"{name}: central difference {numeric:.12g}, gradient {exact:.12g}")
    print(f"{len(p)} parameters, largest difference {worst:.1e} of the gradient's norm")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data", metavar="F")
    arguments = parser.parse_args()
    if arguments.check:
        check_gradient()
        return
    if arguments.data:
        with open(arguments.data, "w") as file:
            for source in make_sources():
                print(source.name, source.train_tokens, *source.tokens, file=file)
        return
    for loss, norm, _ in train(STEPS):
        print(f"    {{{loss:.17g}, {norm:.17g}}},")


if __name__ == "__main__":
    main()
