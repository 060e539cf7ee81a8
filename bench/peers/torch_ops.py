"""Single ops in PyTorch and scikit-learn: python3 bench/peers/torch_ops.py '{"threads":2}', then one request a line:

    {"task":"bank","slices":23,"groups":1,"size":4194304,"samples":5}           weights of G groups and both gradients;
                                          "forward":1 the weights alone, "update":1 and AdamW on the slices
    {"task":"route","rows":8192,"experts":64,"k":2,"samples":5}                 softmax and top k
    {"task":"kmeans","rows":100000,"cols":384,"clusters":1024,"samples":3}      scikit-learn: nearest centroid
    {"task":"gemm","m":2048,"n":1024,"k":256,"transA":0,"transB":1,"bf16":0,"calls":4,"samples":5}
"""
import json
import sys

from protocol import keep_freed_memory, serve, timed

keep_freed_memory()
import torch

given = {"threads": 2, **(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})}
torch.set_num_threads(given["threads"])


def bank(r):
    t = torch.randn(r["slices"], r["size"], requires_grad=True)
    shared = torch.randn(r["size"], requires_grad=True)
    c = torch.randn(r["groups"], r["slices"], requires_grad=True)
    dw = torch.randn(r["groups"], r["size"])

    def run():
        t.grad = c.grad = shared.grad = None
        torch.addmm(shared, c, t).backward(dw)

    optimizer = torch.optim.AdamW([t], lr=1e-6, fused=True)

    def update():
        run()
        optimizer.step()

    def generate():
        with torch.no_grad():
            torch.addmm(shared, c, t)

    return generate if r.get("forward") else update if r.get("update") else run


def route(r):
    x = torch.randn(r["rows"], r["experts"])
    return lambda: torch.topk(torch.softmax(x, -1), r["k"], dim=-1)


def kmeans(r):
    import numpy
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    random = numpy.random.default_rng(1)
    x = random.standard_normal((r["rows"], r["cols"]), dtype=numpy.float32)
    centroids = random.standard_normal((r["clusters"], r["cols"]), dtype=numpy.float32)
    model = KMeans(r["clusters"], init=centroids, n_init=1, max_iter=1)
    model.fit(centroids)  # the cheapest way to a fitted model
    model.cluster_centers_ = centroids

    def run():
        with threadpool_limits(given["threads"]):
            model.predict(x)

    return run


def gemm(r):
    dtype = torch.bfloat16 if r["bf16"] else torch.float32
    a = torch.randn((r["k"], r["m"]) if r["transA"] else (r["m"], r["k"])).to(dtype)
    b = torch.randn((r["n"], r["k"]) if r["transB"] else (r["k"], r["n"])).to(dtype)
    a, b = (a.T if r["transA"] else a), (b.T if r["transB"] else b)
    return lambda: a @ b


TASKS = {"bank": bank, "route": route, "kmeans": kmeans, "gemm": gemm}
ready = {}


def answer(request):
    key = json.dumps({name: value for name, value in request.items() if name not in ("samples", "calls")})
    if key not in ready:
        ready.clear()  # one at a time: a bank takes gigabytes
        ready[key] = TASKS[request["task"]](request)
    ready[key]()
    return {"seconds": timed(ready[key], request["samples"], request.get("calls", 1))}


serve({"peer": "torch", "version": torch.__version__, "kernel": torch.backends.cpu.get_cpu_capability(),
       "threads": torch.get_num_threads()}, answer)
