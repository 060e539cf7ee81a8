// docs/api.md: one page of what ts/index.ts exports, made of its docstrings. Reads the compiled declarations.
//   npm run docs               writes the page
//   npm run docs -- --check    fails when it is out of date, or an export or a member of one has no docstring
// API Extractor reads the declarations and gives every item with its signature and comment; this file groups and prints them.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const page = path.join(root, 'docs', 'api.md');

/** Every export belongs to one of these, in reading order; types stand behind the function that takes or gives them. */
const GROUPS = [
  ['Backends and errors', ['openBackend', 'listIsas', 'SweetspotError']],
  [
    'Text',
    [
      'buildCorpus',
      'clusterCorpus',
      'domainCorpus',
      'readDocuments',
      'trainTokenizer',
      'Tokenizer',
      'Corpus',
      'externalEmbedder',
      'histogram',
      'entropy',
      'coverage',
    ],
  ],
  ['Training', ['pretrain', 'specialize', 'METHODS', 'PRESETS']],
  ['Evaluation', ['evaluate', 'evaluateEnsemble', 'evaluateCorpus', 'macroAverage']],
  ['Serving', ['createEngine', 'Engine', 'EngineInfo', 'DenseModel', 'generate', 'generateText']],
  [
    'Experiments and reports',
    ['readExperiment', 'checkedExperiment', 'describeExperiment', 'runExperiment', 'readResults', 'writeReport'],
  ],
];

/** The items of the package as API Extractor's JSON has them. */
function extract() {
  const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-docs-'));
  try {
    const file = path.join(folder, 'api.json');
    const silent = { default: { logLevel: ExtractorLogLevel.None } };
    const config = ExtractorConfig.prepare({
      packageJsonFullPath: path.join(root, 'package.json'),
      configObjectFullPath: undefined,
      configObject: {
        projectFolder: root,
        mainEntryPointFilePath: path.join(root, 'dist', 'ts', 'index.d.ts'),
        compiler: {
          overrideTsconfig: {
            compilerOptions: {
              target: 'es2022',
              lib: ['es2023', 'esnext.disposable'],
              module: 'nodenext',
              moduleResolution: 'nodenext',
              types: ['node'],
              strict: true,
              skipLibCheck: true,
            },
            files: [path.join(root, 'dist', 'ts', 'index.d.ts')],
          },
        },
        apiReport: { enabled: false },
        dtsRollup: { enabled: false },
        tsdocMetadata: { enabled: false },
        docModel: { enabled: true, apiJsonFilePath: file },
        messages: {
          compilerMessageReporting: silent,
          extractorMessageReporting: silent,
          tsdocMessageReporting: silent,
        },
      },
    });
    const result = Extractor.invoke(config, { localBuild: true, showVerboseMessages: false, messageCallback: quiet });
    if (!existsSync(file)) throw new Error(`API Extractor: ${result.errorCount} errors`);
    return JSON.parse(readFileSync(file, 'utf8')).members[0].members;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** It speaks about its own TypeScript being another than ours; only errors matter. */
function quiet(message) {
  message.handled = message.logLevel !== ExtractorLogLevel.Error;
}

/** The comment without its stars: text, and tags by name. */
function comment(item) {
  const lines = (item.docComment ?? '')
    .replace(/^\/\*\*|\*\/\s*$/g, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd());
  const parts = [{ tag: 'text', lines: [] }];
  for (const line of lines) {
    const tag = /^@(\w+)\s*(.*)/.exec(line);
    if (tag) parts.push({ tag: tag[1], lines: [tag[2]] });
    else parts.at(-1).lines.push(line);
  }
  return parts.map(({ tag, lines }) => ({ tag, text: lines.join('\n').trim() })).filter(({ text }) => text !== '');
}

const text = (item) => comment(item).find(({ tag }) => tag === 'text')?.text ?? '';
const oneLine = (value) => value.replace(/\s+/g, ' ').trim();
const nameOf = (item) => (item.kind === 'Constructor' ? 'constructor' : item.name);
const signature = (item) =>
  item.excerptTokens
    .map((token) => token.text)
    .join('')
    .replace(/^export (declare )?/, '')
    .trim();
/** Of types, the words of `signature` that name other items. */
const references = (item) =>
  [item, ...(item.members ?? [])].flatMap((one) =>
    one.excerptTokens.filter(({ kind }) => kind === 'Reference').map((token) => token.text.split('.')[0]),
  );

function printTags(item) {
  const lines = [];
  for (const { tag, text: given } of comment(item)) {
    if (tag === 'param')
      lines.push(`- \`${given.replace(/\s[\s\S]*/, '')}\`: ${oneLine(given.replace(/^\S+\s*(-\s+)?/, ''))}`);
    if (tag === 'returns') lines.push(`- Returns ${oneLine(given)}`);
    if (tag === 'throws') lines.push(`- Throws ${oneLine(given)}`);
  }
  return lines;
}

/** Sentences stay sentences; lists and examples keep their lines. */
const paragraphs = (value) =>
  value
    .split(/\n{2,}/)
    .map((part) => (/^\s*(-|\|)/m.test(part) ? part : oneLine(part)))
    .join('\n\n');

function printItem(item) {
  const lines = [`### ${nameOf(item)}`, ''];
  const members = (item.members ?? []).filter(shown);
  lines.push('```ts', signature(item), '```', '');
  if (text(item) !== '') lines.push(paragraphs(text(item)), '');
  const tags = printTags(item);
  if (tags.length > 0) lines.push(...tags, '');
  if (members.length > 0) {
    for (const member of members) {
      const more = printTags(member).map((line) => `  ${line}`);
      lines.push(`- \`${oneLine(signature(member)).replace(/;$/, '')}\`  `, `  ${oneLine(text(member))}`, ...more);
    }
    lines.push('');
  }
  return lines;
}

const shown = (item) => !/@internal/.test(item.docComment ?? '');

function render(items) {
  const byName = new Map(items.map((item) => [item.name, item]));
  const lines = [
    '# The library, name by name',
    '',
    'Made by `npm run docs` from the docstrings of what `sweetspot` exports; do not edit. What is listed here is what semantic',
    'versioning covers. Errors are `SweetspotError` with the code that is named.',
    '',
  ];
  const placed = new Set();
  const groups = GROUPS.map(([title, names]) => {
    const list = [];
    // A type belongs to the first group that needs it, behind what needs it.
    const place = (name) => {
      const item = byName.get(name);
      if (item === undefined || placed.has(name)) return;
      placed.add(name);
      list.push(item);
      if (!names.includes(name) || item.kind !== 'Class')
        for (const other of references(item)) if (isType(byName.get(other))) place(other);
    };
    for (const name of names) place(name);
    for (const item of [...list]) for (const other of references(item)) if (isType(byName.get(other))) place(other);
    return [title, list];
  });
  const left = items.filter((item) => !placed.has(item.name));
  const functions = left.filter((item) => !isType(item));
  if (functions.length > 0)
    throw new Error(`no group in scripts/docs.mjs for ${functions.map((item) => item.name).join(', ')}`);
  if (left.length > 0) groups.push(['Further types', left]);
  for (const [title, list] of groups) {
    const anchor = (name) => `[${name}](#${name.toLowerCase()})`;
    lines.push(`- ${title}: ${list.map((item) => anchor(item.name)).join(', ')}`);
  }
  lines.push('');
  for (const [title, list] of groups) {
    lines.push(`## ${title}`, '');
    for (const item of list) lines.push(...printItem(item));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

const isType = (item) => item !== undefined && (item.kind === 'Interface' || item.kind === 'TypeAlias');

/** Exports and their members without a docstring. */
function undocumented(items) {
  return items.flatMap((item) =>
    [item, ...(item.members ?? []).filter(shown)]
      .filter((one) => text(one) === '' && one.kind !== 'Constructor')
      .map((one) => (one === item ? item.name : `${item.name}.${nameOf(one)}`)),
  );
}

const items = extract();
const missing = undocumented(items);
for (const name of missing) console.error(`${name} has no docstring`);
const made = render(items);
if (process.argv.includes('--check')) {
  const current = existsSync(page) && readFileSync(page, 'utf8') === made;
  if (!current) console.error('docs/api.md is out of date: npm run docs');
  process.exit(current && missing.length === 0 ? 0 : 1);
}
writeFileSync(page, made);
console.log(`docs/api.md: ${items.length} exports`);
process.exit(missing.length === 0 ? 0 : 1);
