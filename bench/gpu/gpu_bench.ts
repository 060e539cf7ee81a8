// How fast the CUDA kernels are: node dist/bench/gpu/gpu_bench.js [--only roof,steps,bank,products,attention,routing]
// [--small] [--file name]. One JSON object a line on stdout, all of them in $OUT/gpu_bench.json when OUT is set. figures.ts
// makes a table of them. A part that fails is reported and does not stop the next.
import { cudaInfo } from '../../ts/backend/index.js';
import { attention } from './attention.js';
import { flags, report } from './device.js';
import { bank, roofs } from './memory.js';
import { products } from './products.js';
import { routing } from './routing.js';
import { steps } from './steps.js';

report({ device: cudaInfo() });
let roof = 0;
const parts: Readonly<Record<string, () => Promise<void>>> = {
  roof: async () => {
    roof = await roofs();
  },
  steps,
  bank: async () => bank(roof || (await roofs())),
  products,
  attention,
  routing,
};
const chosen = flags.only === '' ? Object.keys(parts) : flags.only.split(',');
let failed = 0;
for (const name of chosen) {
  const began = performance.now();
  try {
    const part = parts[name];
    if (part === undefined) throw new Error(`no such part: ${Object.keys(parts).join(', ')}`);
    await part();
    report({ part: name, seconds: Math.round((performance.now() - began) / 1000) });
  } catch (error) {
    failed++;
    report({ part: name, failed: (error as Error).message });
  }
}
process.exit(failed > 0 ? 1 : 0);
