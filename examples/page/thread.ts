// A thread of the WebAssembly backend in a page. The first message says what it is.
import { Engine, help } from '../../bindings/wasm/engine.js';
import type { Command, Start } from '../../bindings/wasm/protocol.js';

const scope = self as unknown as {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer: readonly Transferable[]): void;
};

scope.onmessage = ({ data }: MessageEvent<Start>) => {
  if (data.role === 'pool') {
    help(data);
    return;
  }
  const engine = new Engine(data);
  scope.onmessage = ({ data: command }: MessageEvent<Command>) => {
    const reply = engine.do(command);
    if (reply !== undefined) scope.postMessage(reply, reply.bytes === undefined ? [] : [reply.bytes.buffer]);
  };
};
