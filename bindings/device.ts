// What ts/backend drives: the Device class of the addon (bindings/napi/device.h) and that of WebAssembly (bindings/wasm/device.ts).

/** Errors it throws and rejects with are plain; ts/backend gives them their type. */
export interface Device {
  alloc(bytes: number): number;
  free(id: number): void;
  write(id: number, offset: number, bytes: Uint8Array): void;
  read(id: number, offset: number, length: number): Promise<Uint8Array>;
  /** `arena` and `kept` (from, to, from, to ...) as in RowList; a device may pass over them. */
  compile(words: Uint32Array, arena?: number, kept?: readonly number[]): number;
  run(id: number): void;
  release(id: number): void;
  fence(): Promise<void>;
  allocated(): number;
  close(): void;
}
