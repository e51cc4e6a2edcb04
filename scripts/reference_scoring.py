#!/usr/bin/env python3
"""Scoring against references once more, in numpy and scipy: what the Rust code is held against.

Sums run over the references in the order of choice. Features and products are f32, every sum, median,
quantile and p-value f64. Nothing here sees a label. Writes the golden numbers of tests/golden/reference:

    scripts/reference_scoring.py tests/golden/reference/cases.json

Wants numpy and scipy, as in requirements-bench.txt.
"""

import json
import sys

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

G, P, PROJ = 16, 256, 64          # grid side, positions, projected channels
BANK, LOWEST = 64, 2              # bank images (the first of the references); nearest images averaged
RHO_BANK = 32                     # of these for rho, whose thresholds depend on the number
LEAST_STD, LIMIT = 1e-3, 30.0     # least standard deviation of a channel; bound of a scaled feature
SHRINK = 8.0                      # pseudo-observations of the global variance
LOC = 0.5                         # share of the per-position median in a map's location
EPS, FLOOR = 1e-3, 0.01           # added to a distance before the log; least scale of a map
RHO0, RHO1 = 1.2 * 64 / 176, 2.0 * 64 / 176  # structure evidence: weight 0 up to RHO0, 1 from RHO1
FREE = 1.3 * 64 / 176             # rho below: no neighbourhood mean for the nearest patch, w = 0, TOP_FREE cells
W_POS, W_TEXT = 0.5, 0.4          # weights of the position-wise distance and of FiLo's map, times w
AGREE0, AGREE1 = 0.4, 0.6         # text map that follows the nearest-patch map of the references: weight 1 up to AGREE0, 0 from AGREE1
TOP, TOP_FREE = 13, 3             # cells averaged for the image score: 5 %, 1 % of 256
SHIFT = 4.0                       # calibration works on log(score + SHIFT)
CLIP = 2.5                        # archive references: scores beyond CLIP sd are left out of the null
SQUASH = 6.0                      # published score = 0.5 + 0.5 s / (|s| + SQUASH)
LEAST = 8                         # fewer references: no reference scoring


def around(f):                    # ... x 256 x C -> the same shape: mean over the existing cells of the 3x3 neighbourhood
    x = f.reshape(f.shape[:-2] + (G, G, f.shape[-1]))
    p = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    s = sum(p[..., i:i + G, j:j + G, :] for i in range(3) for j in range(3))
    n = np.pad(np.ones((G, G)), 1)
    n = sum(n[i:i + G, j:j + G] for i in range(3) for j in range(3))     # 4, 6 or 9 cells exist
    return (s / n[:, :, None]).astype(np.float32).reshape(f.shape)


def splitmix(i):                  # SplitMix64 finaliser of (i + 1) * golden ratio, wrapping u64
    m = (1 << 64) - 1
    z = ((i + 1) * 0x9E3779B97F4A7C15) & m
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
    return z ^ (z >> 31)


def projection(c):                # signs: top bit of splitmix(channel * 64 + column)
    s = [[1.0 if splitmix(i * PROJ + j) >> 63 else -1.0 for j in range(PROJ)] for i in range(c)]
    return (np.array(s) / np.sqrt(PROJ)).astype(np.float32)


# ---------------------------------------------------------------- distances
def d_position(mo, x, member):    # x: P x C scaled; returns Mahalanobis map and plain squared map
    n, s, q = mo["n"], mo["sum"], mo["sq"]
    if member is not None:
        n, s, q = n - 1, s - x, q - x.astype(np.float64) ** 2
    mean = s / n
    var = np.maximum(q / n - mean * mean, 0.0)
    var = (n * var + SHRINK) / (n + SHRINK)            # the global variance is 1 after scaling
    d = (x - mean) ** 2
    return np.sqrt((d / var).mean(1)), d.mean(1)


def d_nearest(bank, y, member):   # bank: images x P x PROJ, y: P x PROJ
    yy = (y * y).sum(1)
    b = bank.reshape(-1, PROJ)                          # bank images one after another, P patches each
    d = (b * b).sum(1)[None] - 2.0 * (y @ b.T)
    d = d.reshape(P, -1, P).min(2).T + yy[None]         # bank image x position
    near = np.sqrt(np.maximum(d, 0.0) / PROJ)
    if member is not None and member < len(near):
        near = np.delete(near, member, 0)
    return np.sort(near.astype(np.float64), 0)[:LOWEST].mean(0)


def scale_of(feats):              # per channel over all references and cells
    f = feats.reshape(-1, feats.shape[-1]).astype(np.float64)
    return f.mean(0).astype(np.float32), np.maximum(f.std(0), LEAST_STD).astype(np.float32)


def scaled(x, by):                # a constant channel is 0 over the references, LIMIT at most elsewhere
    return np.clip((x - by[0]) / by[1], -LIMIT, LIMIT).astype(np.float32)


def make_bank(x, proj):           # scaled features of the references -> bank images x P x PROJ, f16 values
    return (x[:BANK] @ proj).astype(np.float16).astype(np.float32)


def voices(mo, feat, text, member):   # 3 x P: nearest, position, text
    x = scaled(around(feat), mo["scale_around"])
    pos, _ = d_position(mo, x, member)
    if mo["free"]:
        x = scaled(feat, mo["scale"])
    near = d_nearest(mo["bank"], x @ mo["proj"], member)
    t = np.zeros(P) if text is None else text
    return np.stack([np.log(near + EPS), np.log(pos + EPS), t])


# ---------------------------------------------------------------- model
def fit(feats, text, archive):
    R = len(feats)
    assert R >= LEAST
    wide = around(feats)
    mo = dict(archive=archive, n=R, proj=projection(feats.shape[2]), scale=scale_of(feats), scale_around=scale_of(wide))
    x = scaled(wide, mo["scale_around"])
    mo["sum"] = x.astype(np.float64).sum(0)
    mo["sq"] = (x.astype(np.float64) ** 2).sum(0)
    mo["bank"] = make_bank(x, mo["proj"])
    near = np.array([d_nearest(mo["bank"][:RHO_BANK], x[i] @ mo["proj"], i) for i in range(R)])
    plain = np.array([d_position(mo, x[i], i)[1] for i in range(R)])
    per_channel = PROJ / feats.shape[2]                 # |y - b| is about |x - x'|, whatever C is
    mo["rho"] = np.median(near ** 2) * per_channel / max(np.median(plain), 1e-12)
    mo["free"] = bool(mo["rho"] < FREE)
    mo["w"] = 0.0 if mo["free"] else float(np.clip((mo["rho"] - RHO0) / (RHO1 - RHO0), 0, 1))
    mo["top"] = TOP_FREE if mo["free"] else TOP
    if mo["free"]:
        mo["bank"] = make_bank(scaled(feats, mo["scale"]), mo["proj"])
    V = np.array([voices(mo, feats[i], None if text is None else text[i], i) for i in range(R)])
    mo["V"] = V                                         # R x 3 x P, leave-one-out
    at = np.median(V, 0)
    mo["loc"] = LOC * at + (1 - LOC) * np.median(V, (0, 2))[:, None]
    mo["spread"] = np.maximum(1.25 * np.abs(V - at).mean((0, 2)), FLOOR)
    z = np.clip((V - mo["loc"]) / mo["spread"][:, None], -3, 3)
    a, b = z[:, 0] - z[:, 0].mean(), z[:, 2] - z[:, 2].mean()
    ab = np.sqrt((a * a).sum() * (b * b).sum())
    mo["agree"] = (a * b).sum() / ab if ab > 1e-12 else 1.0
    mo["w_text"] = mo["w"] * float(np.clip((AGREE1 - mo["agree"]) / (AGREE1 - AGREE0), 0, 1))
    maps = np.array([fuse(mo, v) for v in V])
    mo["maps"] = maps
    mo["scores"] = np.array([image_score(mo, m) for m in maps])
    mo["null"] = fit_null(mo["scores"], archive)
    mo["mask_at"] = mask_threshold(mo)
    return mo


def fuse(mo, v):
    z = (v - mo["loc"]) / mo["spread"][:, None]
    return z[0] + W_POS * mo["w"] * z[1] + W_TEXT * mo["w_text"] * z[2]


def image_score(mo, m):
    return np.sort(m)[-mo["top"]:].mean()


# ---------------------------------------------------------------- calibration
def scale_score(s):
    return np.log(np.maximum(s + SHIFT, 0.05))


def fit_null(scores, archive):
    """mean, sd and count of the transformed scores. Archive: of those up to CLIP sd above the mean,
    from a start that only reads the lower half, corrected for the cut."""
    a = np.sort(scale_score(scores))
    if not archive:
        return a.mean(), max(a.std(ddof=1), FLOOR), len(a)
    lam = norm.pdf(CLIP) / norm.cdf(CLIP)
    shrink = np.sqrt(1 - CLIP * lam - lam * lam)
    mean = np.median(a)
    sd = max((mean - np.quantile(a, 0.25)) / 0.67449, FLOOR)
    for _ in range(10):
        b = a[a <= mean + CLIP * sd]
        m, s = b.mean(), b.std(ddof=1)
        if len(b) < len(a):
            s /= shrink
            m += lam * s
        mean, sd, k = m, max(s, FLOOR), len(b)
    return mean, sd, k


def p_value(mo, s):
    """Student-t predictive of one more image like the references; with known-good references the
    rank (k + 1)/(n + 1) as soon as one of them scores at least as high, so that no rate from
    1/(n + 1) on is exceeded whatever the distribution."""
    mean, sd, k = mo["null"]
    p = float(student.sf((scale_score(s) - mean) / (sd * np.sqrt(1 + 1 / k)), k - 1))
    if mo["archive"]:
        return p
    n, above = len(mo["scores"]), int((mo["scores"] >= s).sum())
    return (above + 1) / (n + 1) if above else min(p, 1 / (n + 1))


def score_at(mo, rate):           # the raw score above which p <= rate
    mean, sd, k = mo["null"]
    t = float(np.exp(mean + student.isf(rate, k - 1) * sd * np.sqrt(1 + 1 / k)) - SHIFT)
    if mo["archive"]:
        return t
    n = len(mo["scores"])
    above = int(np.floor(rate * (n + 1) + 1e-9)) - 1
    r = np.sort(mo["scores"])[::-1]
    return float(r[above]) if above >= 0 else max(t, float(r[0]))


def mask_threshold(mo, rate=0.01):
    """Half way between the image threshold and the cell value that `rate` of the references' cells
    exceed (linear interpolation between order statistics, as numpy's quantile)."""
    return 0.5 * (score_at(mo, rate) + float(np.quantile(mo["maps"], 1 - rate)))


def squash(s):
    return 0.5 + 0.5 * s / (np.abs(s) + SQUASH)


def score(mo, feat, text, member=None):
    v = voices(mo, feat, text, member)
    m = fuse(mo, v)
    s = image_score(mo, m)
    return dict(map=m, score=s, p=p_value(mo, s), published=squash(s), published_map=squash(m))


# ---------------------------------------------------------------- golden numbers
REFERENCES, QUERIES, CHANNELS = 10, 2, 12


def made_up(seed, loose):
    """Features and text maps of images that share a structure, at one place or, if `loose`, anywhere;
    the last queries have a defect."""
    rng = np.random.default_rng(seed)
    usual = rng.normal(size=(P, CHANNELS))
    images, texts = [], []
    for i in range(REFERENCES + QUERIES):
        placed = np.roll(usual.reshape(G, G, CHANNELS), rng.integers(0, G, size=2), (0, 1))
        placed = placed.reshape(P, CHANNELS) if loose else usual
        x = placed + (0.05 if loose else 0.1) * rng.normal(size=(P, CHANNELS))
        text = 0.3 + 0.05 * rng.normal(size=P)
        if i > REFERENCES:
            at = rng.integers(0, P, size=8 * (i - REFERENCES))
            x[at] += 3.0 * rng.normal(size=(len(at), CHANNELS))
            text[at] += 0.3
        images.append(np.round(x, 2).astype(np.float32))
        texts.append(np.round(text, 4).astype(np.float32))
    return images, texts


def case(seed, archive, loose):
    images, texts = made_up(seed, loose)
    feats = np.array(images)
    text = np.array(texts, dtype=np.float64)
    mo = fit(feats[:REFERENCES], text[:REFERENCES], archive)
    queries = []
    for i in [0, *range(REFERENCES, REFERENCES + QUERIES)]:
        member = i if i < REFERENCES else None
        of = score(mo, feats[i], text[i], member)
        found = {"image": i, "score": float(of["published"]), "p_value": float(of["p"])}
        queries.append(found | {"map": [round(float(v), 7) for v in of["published_map"]]})
    return {
        "archive": archive,
        "loose": mo["free"],
        "features": [[float(f"{v:.2f}") for v in x.ravel()] for x in images],
        "texts": [[float(f"{v:.4f}") for v in t] for t in texts],
        "references": REFERENCES,
        "scores": [float(squash(s)) for s in mo["scores"]],
        "score_thresholds": {str(r): float(squash(score_at(mo, r))) for r in (0.01, 0.2)},
        "mask_threshold": float(squash(mo["mask_at"])),
        "queries": queries,
    }


if __name__ == "__main__":
    with open(sys.argv[1], "w") as out:
        json.dump([case(1, True, False), case(2, False, False), case(3, True, True)], out)
        out.write("\n")
