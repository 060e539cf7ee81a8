"""The same work in PyTorch on the same GPU, for comparison with gpu_bench: products, attention, routed experts, a training
step of the 126M model compiled. `peer.py [--small] [--only parts] [--append]`; without a GPU it runs on the CPU, to be tried out.

Prints one JSON object a line; writes all of them to $OUT/peer.json when OUT is set. A part that fails says so and does not
stop the next. Shapes are those of shapes.json.
"""
import argparse
import gc
import json
import math
import os
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true")
parser.add_argument("--append", action="store_true", help="keep what is in the file")
parser.add_argument("--only", default="roof,steps,products,attention,routing")
options = parser.parse_args()
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = json.loads((pathlib.Path(__file__).parent / f"shapes{'_small' if options.small else ''}.json").read_text())
RUNS = SHAPES["repeats"]["runs"]
FILE = pathlib.Path(os.environ["OUT"], "peer.json") if "OUT" in os.environ else None
results = json.loads(FILE.read_text()) if options.append and FILE is not None and FILE.exists() else []


def report(**result):
    results.append(result)
    print(json.dumps(result), flush=True)
    if FILE is not None:
        FILE.write_text(json.dumps(results, indent=1))


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(run, calls=10, runs=RUNS):
    """Median seconds of one call, `calls` of them between two looks at the clock."""
    run()
    wait()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times)


def calls(work, wanted):
    return max(1, min(200, round(wanted / work)))


def roof():
    x = torch.randn(SHAPES["memory"]["floats"], device=DEVICE)
    y = torch.empty_like(x)
    spent = seconds(lambda: y.copy_(x), calls(4 * x.numel(), SHAPES["repeats"]["bytes"]))
    report(op="roof", copyGBs=8 * x.numel() / spent / 1e9)


def products():
    """torch.matmul is cuBLAS on a GPU. In fp32 and tf32 only one product of each layout."""
    few = ["large", "gate and up", "gradient of down's input", "gradient of down"]
    for matmul in ("bf16", "tf32", "fp32"):
        torch.backends.cuda.matmul.allow_tf32 = matmul == "tf32"
        dtype = torch.bfloat16 if matmul == "bf16" else torch.float32
        for shape in SHAPES["products"]:
            if matmul != "bf16" and shape["name"] not in few:
                continue
            m, n, k = shape["m"], shape["n"], shape["k"]
            trans_a, trans_b = (letter == "T" for letter in shape["layout"])
            a = torch.randn((k, m) if trans_a else (m, k), device=DEVICE, dtype=dtype)
            b = torch.randn((n, k) if trans_b else (k, n), device=DEVICE, dtype=dtype)
            c = torch.empty(m, n, device=DEVICE, dtype=dtype)
            left, right = (a.T if trans_a else a), (b.T if trans_b else b)
            flops = 2 * m * n * k
            many = calls(flops, SHAPES["repeats"]["flops"] * (0.1 if matmul == "fp32" else 1))
            spent = seconds(lambda: torch.matmul(left, right, out=c), many)
            report(op="gemm", matmul=matmul, name=shape["name"], us=spent * 1e6, tflops=flops / spent / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False


def attention():
    shape = SHAPES["attention"]
    batch, length, heads, width = shape["batch"], shape["time"], shape["heads"], shape["headDim"]
    q, k, v = (
        torch.randn(batch, heads, length, width, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    )
    dy = torch.randn_like(q)
    flops = 2 * batch * heads * length * (length + 1) * width
    many = calls(flops, SHAPES["repeats"]["flops"] / 8)

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    with torch.no_grad():
        spent = seconds(forward, many)
    report(op="attention", us=spent * 1e6, tflops=flops / spent / 1e12)
    y = forward()
    spent = seconds(lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True), many)
    report(op="attention_backward", us=spent * 1e6, tflops=2.5 * flops / spent / 1e12)


def routing():
    """A block of routed experts as bf16 autocast runs it: float32 weights are rounded in every call."""
    shape = SHAPES["routing"]
    tokens, experts, k, width, inner = (shape[name] for name in ("tokens", "experts", "k", "width", "inner"))
    logits = torch.randn(tokens, experts, device=DEVICE)
    x = torch.randn(tokens, width, device=DEVICE)
    gate_up = torch.randn(experts, 2 * inner, width, device=DEVICE) * width**-0.5
    down = torch.randn(experts, width, inner, device=DEVICE) * width**-0.5
    ready = [gate_up.bfloat16(), down.bfloat16()]

    def choose():
        top, ids = logits.topk(k)
        order = ids.flatten().argsort()
        return top.softmax(-1), order, ids.flatten().bincount(minlength=experts)

    def combine(p, order, y):
        weighted = y * p.flatten()[order, None]
        return torch.zeros(tokens, width, device=DEVICE).index_add_(0, order // k, weighted.float())

    def eager(weights):
        p, order, counts = choose()
        up, out = weights if weights is not None else (gate_up.bfloat16(), down.bfloat16())
        parts = x.bfloat16()[order // k].split(counts.tolist())
        ys = []
        for expert, rows in enumerate(parts):
            gate, linear = (rows @ up[expert].T).chunk(2, -1)
            ys.append((F.silu(gate) * linear) @ out[expert].T)
        return combine(p, order, torch.cat(ys))

    def grouped():
        multiply = getattr(F, "grouped_mm", None) or torch._grouped_mm
        p, order, counts = choose()
        ends = counts.cumsum(0).to(torch.int32)
        up, out = gate_up.bfloat16(), down.bfloat16()
        gate, linear = multiply(x.bfloat16()[order // k], up.transpose(1, 2), offs=ends).chunk(2, -1)
        y = multiply(F.silu(gate) * linear, out.transpose(1, 2), offs=ends)
        return combine(p, order, y)

    many = 10 if RUNS > 1 else 1
    with torch.no_grad():
        for how, run in (
            ("choose", choose),
            ("eager", lambda: eager(None)),
            ("eager, weights ready", lambda: eager(ready)),
            ("grouped_mm", grouped),
        ):
            try:
                report(op="routed experts", how=how, us=seconds(run, many) * 1e6)
            except Exception as error:  # not every version has every kernel
                report(op="routed experts", how=how, failed=str(error)[:200])


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(torch.nn.Module):
    def __init__(self, width, inner, heads):
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = Norm(width), Norm(width)
        self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.up = torch.nn.Linear(width, 2 * inner, bias=False)
        self.down = torch.nn.Linear(inner, width, bias=False)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Transformer(torch.nn.Module):
    def __init__(self, vocabulary, width, inner, layers, heads, time):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        torch.nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
        self.layers = torch.nn.ModuleList(Layer(width, inner, heads) for _ in range(layers))
        self.norm = Norm(width)
        half = width // heads // 2
        angle = torch.arange(time)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens, targets):
        # Rotation and attention in the type of the autocast.
        dtype = torch.bfloat16
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos.to(dtype), self.sin.to(dtype))
        logits = self.norm(x) @ self.embedding.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))


def step_seconds(sequences, compiled):
    """Forward, backward, clipping and fused AdamW; also the loss at the end."""
    shape = SHAPES["model"]
    model = Transformer(**shape).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if compiled else model
    tokens, targets = (
        torch.randint(shape["vocabulary"], (sequences, shape["time"]), device=DEVICE) for _ in range(2)
    )
    losses = []

    def step():
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = forward(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())

    began = time.perf_counter()
    step()
    wait()
    report(op="compiling", sequences=sequences, seconds=time.perf_counter() - began)
    small = RUNS == 1
    spent = seconds(step, calls=1 if small else 4, runs=1 if small else 3)
    return spent, sum(p.numel() for p in model.parameters()), [float(losses[0]), float(losses[-1])]


def taken():
    """As many windows as gpu_bench could take, when it has run before; compiling takes long."""
    try:
        with open(os.path.join(os.environ["OUT"], "gpu_bench.json")) as file:
            ours = [line for line in json.load(file) if line.get("op") == "train step" and "failed" not in line]
        return [line["sequences"] for line in ours if line["clusters"] == 0][:1]
    except (KeyError, OSError, ValueError):
        return []


def steps():
    compiled = DEVICE == "cuda"
    for sequences in taken() or SHAPES["sequences"]:
        failure = None
        try:
            spent, parameters, losses = step_seconds(sequences, compiled)
        except Exception as error:
            failure = str(error)[:200]
        if failure is not None:
            report(op="train step", sequences=sequences, clusters=0, failed=failure)
            gc.collect()
            if compiled:
                torch.cuda.empty_cache()
            continue
        tokens = sequences * SHAPES["model"]["time"]
        flops = step_flops(tokens)
        memory = torch.cuda.max_memory_allocated() / 1e9 if compiled else 0
        report(op="train step", sequences=sequences, clusters=0, compiled=compiled, parameters=parameters, tokens=tokens,
               ms=spent * 1e3, tokensPerSecond=tokens / spent, tflops=flops / spent / 1e12, allocatedGB=memory,
               losses=losses)
        break


def step_flops(tokens):
    """As ts/models/cost.ts counts."""
    shape = SHAPES["model"]
    width = shape["width"]
    layer = 4 * width * width + 3 * width * shape["inner"]
    weights = shape["layers"] * layer + shape["vocabulary"] * width
    return 3 * tokens * (2 * weights + shape["layers"] * 2 * shape["time"] * width)


report(torch=torch.__version__, device=torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu")
failed = False
for name in options.only.split(","):
    began = time.perf_counter()
    try:
        {"roof": roof, "steps": steps, "products": products, "attention": attention, "routing": routing}[name]()
        report(part=name, seconds=round(time.perf_counter() - began, 1))
    except Exception as error:
        failed = True
        report(part=name, failed=str(error)[:300])
raise SystemExit(failed)
