// Writes the text of the examples: node dist/bench/demo/write.js [folder]
import path from 'node:path';
import { packageRoot } from '../../bindings/load.js';
import { writeDemoTexts } from './texts.js';

const folder = path.resolve(process.argv[2] ?? path.join(packageRoot(), 'examples', 'text'));
writeDemoTexts(folder, { learned: 'j', romance: 'np', news: 'abc', belief: 'dg' });
console.log(`text: ${folder}`);
