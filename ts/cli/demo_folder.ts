// The folder of a demo. It is replaced by the next one, and nobody else's folder ever is.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { SweetspotError } from '../backend/index.js';

/** Lies in a folder that a demo made, and so may remove. */
const MARK = 'made-by-sweetspot-demo';

/** An empty folder of our own. Throws SWEETSPOT_EXISTS for one that somebody else made. */
export function clearDemoFolder(out: string): void {
  if (existsSync(out) && !existsSync(path.join(out, MARK))) {
    throw new SweetspotError('SWEETSPOT_EXISTS', {
      what: `${out} exists, and no demo made it`,
      fix: 'choose another --out, or remove it',
    });
  }
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  writeFileSync(path.join(out, MARK), '');
}
