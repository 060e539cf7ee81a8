"""A training step of the same models in PyTorch: the Llama layout, dense or with a bank over the feed-forward matrices.

    python3 bench/peers/torch_step.py '{"vocab":8192,"width":256,"inner":688,"layers":4,"heads":4,"time":256,"batch":16,
        "dtype":"fp32","threads":2,"compile":0,"slices":0,"experts":1,"groups":1}'

builds one model, then answers {"samples": n} on stdin with {"seconds": [..], "peakBytes": .., "loss": ..}; a time is that of one
step: forward, backward, clipping, AdamW. slices > 0 makes a bank W[g] = S + sum_r c[g, r] T_r with c = E M, rows of the
batch sorted by group and cut into equal parts. One process a model, so that its peak memory is its own.
"""
import json
import math
import sys

from protocol import keep_freed_memory, peak_bytes, serve, timed

keep_freed_memory()
import torch
import torch.nn.functional as F

given = {"vocab": 8192, "width": 256, "inner": 688, "layers": 4, "heads": 4, "time": 256, "batch": 16, "dtype": "fp32",
         "threads": 2, "compile": 0, "slices": 0, "experts": 1, "groups": 1}
given.update(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
torch.set_num_threads(given["threads"])
torch.manual_seed(1)


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class FeedForward(torch.nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.up = torch.nn.Linear(width, 2 * inner, bias=False)
        self.down = torch.nn.Linear(inner, width, bias=False)

    def forward(self, x, experts):
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class BankFeedForward(torch.nn.Module):
    def __init__(self, width, inner, slices):
        super().__init__()
        self.mixing = torch.nn.Parameter(torch.linalg.qr(torch.randn(slices, slices))[0])
        self.up = torch.nn.Parameter(torch.randn(slices, 2 * inner * width) * 0.02)
        self.down = torch.nn.Parameter(torch.randn(slices, width * inner) * 0.02)
        self.shared_up = torch.nn.Parameter(torch.randn(2 * inner * width) * 0.02)
        self.shared_down = torch.nn.Parameter(torch.randn(width * inner) * 0.02)
        self.width, self.inner = width, inner

    def forward(self, x, experts):
        c = experts @ self.mixing
        up = torch.addmm(self.shared_up, c, self.up).view(-1, 2 * self.inner, self.width)
        down = torch.addmm(self.shared_down, c, self.down).view(-1, self.width, self.inner)
        parts = []
        for g, part in enumerate(x.chunk(len(up))):
            gate, value = F.linear(part, up[g]).chunk(2, -1)
            parts.append(F.linear(F.silu(gate) * value, down[g]))
        return torch.cat(parts)


class Layer(torch.nn.Module):
    def __init__(self, width, inner, heads, slices):
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = Norm(width), Norm(width)
        self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.feed_forward = BankFeedForward(width, inner, slices) if slices else FeedForward(width, inner)

    def forward(self, x, cos, sin, experts):
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time, width))
        return x + self.feed_forward(self.norm2(x), experts)


class Transformer(torch.nn.Module):
    def __init__(self, vocab, width, inner, layers, heads, time, slices, experts):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, width)
        torch.nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
        self.layers = torch.nn.ModuleList(Layer(width, inner, heads, slices) for _ in range(layers))
        self.norm = Norm(width)
        self.experts = torch.nn.Parameter(F.normalize(torch.randn(experts, slices), dim=-1)) if slices else None
        half = width // heads // 2
        angle = torch.arange(time)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens, targets, clusters):
        x = self.embedding(tokens)
        experts = None if self.experts is None else self.experts[clusters]
        for layer in self.layers:
            x = layer(x, self.cos.to(x.dtype), self.sin.to(x.dtype), experts)
        logits = self.norm(x) @ self.embedding.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


names = ("vocab", "width", "inner", "layers", "heads", "time", "slices", "experts")
model = Transformer(**{name: given[name] for name in names})
# Fused: one pass over memory, the fastest of AdamW's three forms on a CPU.
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
forward = torch.compile(model) if given["compile"] else model
tokens, targets = (torch.randint(given["vocab"], (given["batch"], given["time"])) for _ in range(2))
clusters = torch.arange(given["groups"])
loss = None


def step():
    global loss
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=given["dtype"] == "bf16"):
        loss = forward(tokens, targets, clusters)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def answer(request):
    seconds = timed(step, request["samples"])
    return {"seconds": seconds, "peakBytes": peak_bytes(), "loss": loss.item()}


hello = {"peer": "torch", "version": torch.__version__, "kernel": torch.backends.cpu.get_cpu_capability(),
         "threads": torch.get_num_threads(), "parameters": sum(p.numel() for p in model.parameters())}
serve(hello, answer)
