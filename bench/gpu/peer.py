"""The same work in PyTorch on the same GPU, for comparison with gpu_bench: products, mixing a bank, a training step.

Prints one JSON object a line; writes all of them to $OUT/peer.json when OUT is set.
"""
import json
import math
import os
import statistics

import torch
import torch.nn.functional as F

DEVICE = "cuda"
results = []


def report(**result):
    results.append(result)
    print(json.dumps(result), flush=True)
    if "OUT" in os.environ:
        with open(os.path.join(os.environ["OUT"], "peer.json"), "w") as file:
            json.dump(results, file, indent=1)


def seconds(run, rows=10, repeats=7):
    """Median seconds of one call, `rows` calls between two events."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(rows):
            run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1000 / rows)
    return statistics.median(times)


PRODUCTS = [
    (8192, 8192, 8192, False, True, "large"),
    (16384, 768, 256, False, True, "d 256: qkv"),
    (16384, 1376, 256, False, True, "d 256: gate and up"),
    (16384, 4096, 256, False, True, "d 256: logits"),
    (256, 1376, 16384, True, False, "d 256: weight gradient"),
    (8192, 8192, 1024, False, True, "d 1024: gate and up"),
    (8192, 1024, 4096, False, True, "d 1024: down"),
    (8192, 32000, 1024, False, True, "d 1024: logits"),
    (8192, 1024, 8192, False, False, "d 1024: input gradient"),
    (1024, 8192, 8192, True, False, "d 1024: weight gradient"),
]


def products():
    for matmul in ("fp32", "tf32", "bf16"):
        torch.backends.cuda.matmul.allow_tf32 = matmul == "tf32"
        dtype = torch.bfloat16 if matmul == "bf16" else torch.float32
        for m, n, k, trans_a, trans_b, what in PRODUCTS:
            a = torch.randn((k, m) if trans_a else (m, k), device=DEVICE, dtype=dtype)
            b = torch.randn((n, k) if trans_b else (k, n), device=DEVICE, dtype=dtype)
            a, b = (a.T if trans_a else a), (b.T if trans_b else b)
            time = seconds(lambda: a @ b)
            report(op="gemm", matmul=matmul, what=what, us=time * 1e6, tflops=2 * m * n * k / time / 1e12)


def bank():
    groups, slices, size = 4, 16, 1024 * 4096
    t = torch.randn(slices, size, device=DEVICE)
    c = torch.randn(groups, slices, device=DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = False
    time = seconds(lambda: c @ t)
    report(op="bank_mix", us=time * 1e6, GBs=4 * size * (slices + groups) / time / 1e9)
    x = torch.empty(1 << 28, device=DEVICE)
    y = torch.empty_like(x)
    report(op="roof", copyGBs=8 * x.numel() / seconds(lambda: y.copy_(x)) / 1e9)


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
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time, width))
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
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos.to(x.dtype), self.sin.to(x.dtype))
        logits = self.norm(x) @ self.embedding.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))


def training():
    shapes = {
        "d 256, 4 layers": (4096, 256, 688, 4, 4, 256, 64),
        "126M of the paper": (32000, 1024, 4096, 7, 8, 1024, 16),
    }
    for what, (vocabulary, width, inner, layers, heads, time, batch) in shapes.items():
        for matmul in ("fp32", "tf32", "bf16"):
            for compiled in (False, True):
                if compiled and matmul != "bf16":
                    continue  # compiling takes half a minute
                torch.backends.cuda.matmul.allow_tf32 = matmul == "tf32"
                model = Transformer(vocabulary, width, inner, layers, heads, time).to(DEVICE)
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
                forward = torch.compile(model) if compiled else model
                tokens, targets = (torch.randint(vocabulary, (batch, time), device=DEVICE) for _ in range(2))

                def step():
                    with torch.autocast(DEVICE, torch.bfloat16, enabled=matmul == "bf16"):
                        loss = forward(tokens, targets)
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)

                spent = seconds(step, rows=3, repeats=5)
                report(op="train step", what=what, matmul=matmul, compiled=compiled, ms=spent * 1e3,
                       tokensPerSecond=batch * time / spent)
                del model, optimizer, forward
                torch.cuda.empty_cache()


report(torch=torch.__version__, device=torch.cuda.get_device_name())
products()
bank()
training()
