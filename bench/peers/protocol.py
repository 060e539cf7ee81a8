"""One request a line as JSON, one answer a line: what the Python peers share with those in C (see peer.h)."""
import json
import os
import resource
import sys
import time


def keep_freed_memory():
    """Starts Python again with an allocator that keeps large blocks: without it PyTorch on a CPU pays page faults for every
    activation of every step, and takes up to twice as long."""
    if "MALLOC_MMAP_MAX_" not in os.environ:
        os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 40))
        os.execv(sys.executable, [sys.executable, *sys.argv])


def peak_bytes():
    """Largest resident size. getrusage would count what the process that started this one held; Linux keeps a mark of its own."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(run, samples, calls=1):
    """Seconds of one call, `samples` times."""
    times = []
    for _ in range(samples):
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - begin) / calls)
    return times


def serve(hello, answer):
    """Says who is there, then answers until stdin ends."""
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # the bench goes on without this row
            reply = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(json.dumps(reply), flush=True)
