// docs/coverage.md is what the sources say.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { coverage, projectRoot } from './coverage.js';

test('docs/coverage.md is current', (t) => {
  const committed = readFileSync(path.join(projectRoot(), 'docs/coverage.md'), 'utf8');
  t.is(committed, coverage(projectRoot()), 'run: node dist/test/conformance/coverage.js');
});
