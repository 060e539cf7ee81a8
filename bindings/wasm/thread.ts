// A thread of the WebAssembly backend in Node.
import { parentPort, workerData } from 'node:worker_threads';
import { Engine, help } from './engine.js';
import type { Command, Start } from './protocol.js';

const start = workerData as Start;
if (start.role === 'pool') help(start);
else {
  const engine = new Engine(start);
  parentPort!.on('message', (command: Command) => {
    const reply = engine.do(command);
    if (reply === undefined) return;
    parentPort!.postMessage(reply, reply.bytes === undefined ? [] : [reply.bytes.buffer as ArrayBuffer]);
  });
}
