// The JavaScript side of what peer.h describes: products asked for line by line on stdin, answered with seconds.
import { createInterface } from 'node:readline';

/** Multiples of 1/128 in [-1, 1). */
function filled(n, seed) {
  const values = new Float32Array(n);
  let state = seed;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = ((state >>> 24) - 128) / 128;
  }
  return values;
}

/** Whether a place in the middle of c is right: a transpose understood wrongly would be timed for nothing. */
function right({ m, n, k, transA, transB }, a, b, c) {
  const [i, j] = [m >> 1, Math.floor(n / 3)];
  let sum = 0;
  for (let p = 0; p < k; p++) sum += a[transA ? p * m + i : i * k + p] * b[transB ? j * k + p : p * n + j];
  return Math.abs(sum - c[i * n + j]) <= 1e-3 * Math.sqrt(k) + 1e-4 * Math.abs(sum);
}

/**
 * prepare(request, a, b) resolves to { multiply, result, dispose }: one product (may be a promise), the values of the last one, and what to
 * call in the end.
 */
export async function serve(hello, prepare) {
  const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  say(hello);
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const request = JSON.parse(line);
      const { m, n, k, calls, samples } = request;
      const [a, b] = [filled(m * k, 1), filled(k * n, 2)];
      const { multiply, result, dispose } = await prepare(request, a, b);
      const seconds = [];
      for (let sample = -1; sample < samples; sample++) {
        const began = performance.now();
        for (let call = 0; call < calls; call++) await multiply();
        if (sample >= 0) seconds.push((performance.now() - began) / 1000 / calls);
      }
      if (!right(request, a, b, await result())) throw new Error('the product is wrong');
      await dispose();
      say({ seconds });
    } catch (error) {
      say({ error: error.message });
    }
  }
}
