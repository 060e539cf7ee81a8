// One training step of ours in a process of its own, so that its peak memory is its own. Arguments and answers are those of
// peers/torch_step.py: node dist/bench/step_child.js '{"vocab":8192,"width":256,...}', then {"samples": n} on stdin.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openBackend } from '../ts/backend/index.js';
import { stepModel } from './step_model.js';
import type { StepArguments } from './step_sizes.js';

const given = JSON.parse(process.argv[2]!) as StepArguments;
const backend = openBackend({ backend: 'cpu', isa: given.isa, threads: given.threads });
const { parameters, step, batch } = stepModel(backend, given);

let t = 0;
let loss = 0;
async function seconds(): Promise<number> {
  const began = performance.now();
  ({ loss } = await step.run(batch, 1e-3, ++t));
  return (performance.now() - began) / 1000;
}

/** Largest resident size. getrusage would count what the process that started this one held; Linux keeps a mark of its own. */
function peakBytes(): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const { isa, threads } = backend.capabilities;
say({ peer: 'sweetspot', version: 'here', kernel: isa, threads, parameters: parameters.count });
for await (const line of createInterface({ input: process.stdin })) {
  const { samples } = JSON.parse(line) as { samples: number };
  const times: number[] = [];
  for (let i = 0; i < samples; i++) times.push(await seconds());
  say({ seconds: times, peakBytes: peakBytes(), loss });
}
await backend.close();
