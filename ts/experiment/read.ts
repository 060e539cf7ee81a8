// From a file to an Experiment. Every section and every system is checked by itself and all that is wrong is told at once,
// before anything is computed: a grid takes days, and its mistakes should not be found one a day.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';
import * as yaml from '../vendor/yaml.js';
import type * as z from '../vendor/zod.js';
import { checkExperiment } from './check.js';
import type { Experiment, SystemEntry } from './experiment.js';
import { SYSTEM_METHODS, settingsOf } from './methods.js';
import { type Sections, sections, systemSchema } from './schema.js';

/** What is wrong, and whether the file itself is at fault or the text it names. */
export interface Problem {
  readonly kind: 'usage' | 'input';
  readonly text: string;
}

/**
 * Reads an experiment; paths in it are relative to the file.
 * @throws SweetspotError SWEETSPOT_USAGE or, when only the text it names is at fault, SWEETSPOT_INPUT, listing every problem
 */
export async function readExperiment(file: string): Promise<Experiment> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw ioError(`cannot read ${file}`, cause);
  }
  let raw: unknown;
  try {
    raw = file.endsWith('.json') ? JSON.parse(text) : yaml.parse(text);
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `${file} is not ${file.endsWith('.json') ? 'JSON' : 'YAML'}`,
      found: (cause as Error).message.split('\n')[0]!,
      cause,
    });
  }
  return await checkedExperiment(raw, { file, folder: path.dirname(path.resolve(file)) });
}

/**
 * The same for a value that a program made.
 * @param from.file its name in messages
 * @param from.folder what its paths are relative to; default: the working folder
 * @throws SweetspotError as `readExperiment`
 */
export async function checkedExperiment(
  raw: unknown,
  from: { readonly file?: string; readonly folder?: string } = {},
): Promise<Experiment> {
  const { file = 'the experiment', folder = process.cwd() } = from;
  const problems: Problem[] = [];
  const usage = (text: string) => problems.push({ kind: 'usage', text });
  if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) {
    usage('expected an object with corpus, domains, sizes, models, pretrain and systems');
    throw allOf(file, problems);
  }
  const given = raw as Record<string, unknown>;
  const known = [...Object.keys(sections), 'systems'];
  for (const key of Object.keys(given)) if (!known.includes(key)) usage(`unknown key ${key}`);
  const parsed: { -readonly [K in keyof Sections]?: Sections[K] } = {};
  for (const [key, schema] of Object.entries(sections)) {
    const result = (schema as z.ZodType).safeParse(given[key]);
    if (result.success) Object.assign(parsed, { [key]: result.data });
    else for (const text of issues(key, result.error)) usage(text);
  }
  const systems = readSystems(given['systems'], usage);
  const experiment: Partial<Experiment> = {
    ...absolute(parsed, folder),
    name: parsed.name ?? path.basename(file).replace(/\.(json|ya?ml)$/, ''),
    seeds: parsed.seeds ?? [0],
    finetune: parsed.finetune ?? {},
    systems,
  };
  problems.push(...(await checkExperiment(experiment)));
  if (problems.length > 0) throw allOf(file, problems);
  return experiment as Experiment;
}

function readSystems(given: unknown, usage: (text: string) => void): SystemEntry[] {
  if (!Array.isArray(given) || given.length === 0) {
    usage('systems: expected a list of {name, method, ...}');
    return [];
  }
  return given.flatMap((entry: unknown, i) => {
    const { name, method } = (entry ?? {}) as { name?: unknown; method?: unknown };
    const where = `systems[${i}]${typeof name === 'string' ? ` (${name})` : ''}`;
    const known = Object.hasOwn(SYSTEM_METHODS, String(method)) ? SYSTEM_METHODS[String(method)] : undefined;
    if (known === undefined) {
      usage(`${where}: unknown method ${JSON.stringify(method)}; expected ${Object.keys(SYSTEM_METHODS).join(', ')}`);
      return [];
    }
    const result = systemSchema(String(method), settingsOf(known), known.experts).safeParse(entry);
    if (result.success) return [result.data];
    for (const text of issues(where, result.error)) usage(text);
    return [];
  });
}

function issues(where: string, error: z.ZodError): string[] {
  return error.issues.map((issue) => {
    const at = [where, ...issue.path.map(String)].join('.');
    if (issue.code === 'unrecognized_keys') return `${at}: unknown key ${issue.keys.join(', ')}`;
    return `${at}: ${issue.message.replace(/^Invalid input: /, '')}`;
  });
}

function absolute(parsed: Partial<Sections>, folder: string): Partial<Sections> {
  const resolve = (paths: readonly string[]) => paths.map((one) => path.resolve(folder, one));
  const { corpus, domains } = parsed;
  return {
    ...parsed,
    ...(corpus === undefined
      ? {}
      : {
          corpus: {
            ...corpus,
            ...(corpus.folder === undefined ? {} : { folder: path.resolve(folder, corpus.folder) }),
            ...(corpus.input === undefined ? {} : { input: resolve(corpus.input) }),
            ...(corpus.test === undefined ? {} : { test: resolve(corpus.test) }),
          },
        }),
    ...(domains === undefined
      ? {}
      : { domains: domains.map((one) => ({ ...one, train: resolve(one.train), test: resolve(one.test) })) }),
  };
}

/** One error that lists them all. */
export function allOf(file: string, problems: readonly Problem[]): SweetspotError {
  const kind = problems.some((problem) => problem.kind === 'usage') ? 'SWEETSPOT_USAGE' : 'SWEETSPOT_INPUT';
  return new SweetspotError(kind, {
    what: `${file} has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}`,
    found: problems.map((problem) => `\n    - ${problem.text}`).join(''),
    fix: 'change the file; docs/experiments.md describes it',
  });
}
