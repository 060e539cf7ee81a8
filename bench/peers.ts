// Other programs that do the same work, each a process that answers requests with times: see peers/peer.h and
// peers/protocol.py. Those in C are built when they are first asked for; a peer that is not installed is left out by name.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Contender } from './measure.js';
import { installed, type JavaScriptPeer } from './peers_javascript.js';

const root = (() => {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) folder = path.dirname(folder);
  return folder;
})();
export const peersFolder = path.join(root, 'bench/peers');

export interface Hello {
  readonly peer: string;
  readonly version: string;
  readonly kernel: string;
  readonly threads: number;
}

export interface Answer {
  readonly seconds: readonly number[];
  /** Of the whole process so far. */
  readonly peakBytes?: number;
  readonly loss?: number;
}

/** Idle threads of a peer may spin a while after their work; nothing else is timed until then. */
const SETTLE_MS = 20;
const settled = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

/** A process with one question under way at a time. */
export class PeerProcess {
  readonly hello: Promise<Hello>;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  #ended: Error | undefined;
  #complaint = '';

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#lines.push(line);
      else next.resolve(line);
    });
    this.#child.stderr!.on('data', (data: Buffer) => {
      this.#complaint = `${this.#complaint}${data}`.slice(-2000);
    });
    const end = (why: string) => {
      const last = this.#complaint.trim().split('\n').at(-1);
      this.#ended ??= new Error(last === undefined || last === '' ? why : `${why}: ${last}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    };
    this.#child.on('error', (error) => end(error.message));
    this.#child.on('close', (code) => end(`ended with ${code}`));
    this.#child.stdin!.on('error', () => {});
    this.hello = this.#line().then((line) => JSON.parse(line) as Hello);
    this.hello.catch(() => {});
  }

  async ask(request: object): Promise<Answer> {
    await this.hello;
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    const answer = JSON.parse(await this.#line()) as Answer & { error?: string };
    await settled();
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  contender(name: string, request: object): Contender {
    return { name, turn: async () => (await this.ask(request)).seconds };
  }

  /** Ends with its stdin. */
  close(): void {
    this.#child.stdin!.end();
    // A step that takes long is not worth waiting for.
    setTimeout(() => this.#child.kill(), 1000).unref();
  }

  #line(): Promise<string> {
    const ready = this.#lines.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }
}

interface GemmPeer {
  readonly name: string;
  readonly source: string;
  readonly libraries: readonly string[];
  readonly bf16: boolean;
  /** What lifts a library out of a detection that fails on new processors. */
  readonly env: (avx512: boolean) => NodeJS.ProcessEnv;
}

export const GEMM_PEERS: readonly GemmPeer[] = [
  {
    name: 'openblas',
    source: 'openblas.c',
    libraries: ['openblas'],
    bf16: false,
    env: (avx512) => ({ OPENBLAS_THREAD_TIMEOUT: '20', ...(avx512 ? { OPENBLAS_CORETYPE: 'SkylakeX' } : {}) }),
  },
  { name: 'onednn', source: 'onednn.cc', libraries: ['dnnl'], bf16: true, env: () => ({}) },
  {
    name: 'blis',
    source: 'blis.c',
    libraries: ['blis'],
    bf16: false,
    // 0 is skx in BLIS 0.9 and 1.x.
    env: (avx512): NodeJS.ProcessEnv => (avx512 ? { BLIS_ARCH_TYPE: '0' } : {}),
  },
];

/** Without what the environment says about other libraries' kernels. */
export function cleanEnvironment(threads: number): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(OPENBLAS|BLIS|OMP|MKL|GOMP|DNNL|ONEDNN)_/.test(name));
  return { ...Object.fromEntries(kept), OMP_NUM_THREADS: `${threads}` };
}

export function hasAvx512(): boolean {
  try {
    return /\bavx512bw\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return false;
  }
}

/** The program of a peer, built if it is older than its source; throws why it cannot be had. */
export function buildPeer({ name, source, libraries }: Pick<GemmPeer, 'name' | 'source' | 'libraries'>): string {
  const cxx = source.endsWith('.cc');
  const compiler = cxx ? (process.env['CXX'] ?? 'c++') : (process.env['CC'] ?? 'cc');
  const folder = path.join(root, 'build/peers');
  const from = path.join(peersFolder, source);
  const program = path.join(folder, name);
  const made = (file: string) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (made(program) > Math.max(made(from), made(path.join(peersFolder, 'peer.h')))) return program;
  mkdirSync(folder, { recursive: true });
  const args = [
    '-O2',
    ...(cxx ? ['-std=c++17'] : []),
    '-o',
    program,
    from,
    ...libraries.map((name) => `-l${name}`),
    '-lm',
  ];
  const done = spawnSync(compiler, args, { encoding: 'utf8' });
  if (done.error !== undefined) throw new Error(`no compiler ${compiler}`);
  if (done.status !== 0) {
    const line = done.stderr.split('\n').find((one) => /error|cannot find/.test(one));
    throw new Error(`not installed (${(line ?? done.stderr).trim().slice(0, 120)})`);
  }
  return program;
}

/** Peers that were opened in a run, and the reason for every one that was not. */
export class Peers {
  /** By name: version and kernel, or why it is left out. */
  readonly found: Record<string, string> = {};
  readonly #open = new Map<string, Promise<PeerProcess | undefined>>();
  readonly #python: string | undefined;

  constructor(
    readonly threads: number,
    readonly enabled: boolean,
  ) {
    this.#python = process.env['SWEETSPOT_PYTHON'] ?? 'python3';
  }

  /** A product in OpenBLAS, oneDNN or BLIS; undefined when it is absent. */
  gemm(peer: GemmPeer): Promise<PeerProcess | undefined> {
    return this.#opened(peer.name, () => {
      const program = buildPeer(peer);
      return new PeerProcess(program, [`${this.threads}`], {
        ...cleanEnvironment(this.threads),
        ...peer.env(hasAvx512()),
      });
    });
  }

  /** A product in a library for WebAssembly. */
  javascript(peer: JavaScriptPeer): Promise<PeerProcess | undefined> {
    return this.#opened(peer.name, () => {
      const folder = installed(peer, path.join(root, 'build/peers/javascript'));
      return new PeerProcess(
        process.execPath,
        [path.join(peersFolder, peer.script), folder, `${this.threads}`],
        process.env,
      );
    });
  }

  /** Single ops of PyTorch and scikit-learn. */
  torchOps(): Promise<PeerProcess | undefined> {
    return this.#opened('torch', () => this.#script('torch_ops.py', { threads: this.threads }));
  }

  /** A process of its own for a model; not kept. */
  async torchStep(given: object): Promise<PeerProcess | undefined> {
    if (!(await this.#reachable('torch'))) return undefined;
    const peer = this.#script('torch_step.py', { ...given, threads: this.threads });
    try {
      this.found['torch'] ??= described(await peer.hello);
      return peer;
    } catch (error) {
      this.found['torch'] = `skipped: ${(error as Error).message}`;
      return undefined;
    }
  }

  close(): void {
    for (const peer of this.#open.values()) void peer.then((process) => process?.close());
  }

  async #reachable(name: string): Promise<boolean> {
    if (!this.enabled) return false;
    return !this.found[name]?.startsWith('skipped');
  }

  #script(file: string, given: object): PeerProcess {
    const env = cleanEnvironment(this.threads);
    return new PeerProcess(this.#python!, [path.join(peersFolder, file), JSON.stringify(given)], env);
  }

  #opened(name: string, open: () => PeerProcess): Promise<PeerProcess | undefined> {
    if (!this.enabled) return Promise.resolve(undefined);
    let opened = this.#open.get(name);
    if (opened === undefined) {
      opened = (async () => {
        try {
          const peer = open();
          this.found[name] = described(await peer.hello);
          return peer;
        } catch (error) {
          this.found[name] = `skipped: ${(error as Error).message}`;
          console.log(`${name} ${this.found[name]}`);
          return undefined;
        }
      })();
      this.#open.set(name, opened);
    }
    return opened;
  }
}

export const described = ({ version, kernel, threads }: Hello): string => `${version} ${kernel} ${threads}t`;
export const allThreads = (): number => Math.min(availableParallelism(), 16);
