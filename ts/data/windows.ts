// Cutting documents into training windows of at most T tokens. A document stored as [endOfText, t1 ... tn] has n
// predictions: window j has the inputs jT ... min((j + 1)T, n) - 1, counted from the marker, and each target stands one
// to the right of its input. So every token but the marker is predicted exactly once, a window sees only its own
// document, and to fill one is `corpus.read(start, length + 1, ...)`.
// To cut in another way (overlapping, packed), write a function beside `cutWindows` that returns the same `Windows`.

import { SweetspotError } from '../backend/errors.js';
import type { Corpus } from './corpus.js';

/** Windows in the order of the corpus; entry i of each array is about window i. */
export interface Windows {
  readonly count: number;
  /** T, the most inputs a window has. */
  readonly contextLength: number;
  /** Predictions of all windows together: the sum of `length`. */
  readonly predictions: number;
  /** Offset of the first input in the corpus, in tokens. */
  readonly start: Float64Array;
  /** Number of inputs, 1 to T; `length + 1` tokens are to be read. */
  readonly length: Uint16Array | Uint32Array;
  /** Number of the document. */
  readonly document: Uint32Array;
}

/**
 * Cuts every document of a corpus; a document without a token after its marker has no window.
 *
 * @param contextLength T
 * @throws SweetspotError SWEETSPOT_USAGE when T is not an integer of 1 or more
 */
export function cutWindows(corpus: Corpus, contextLength: number): Windows {
  if (!Number.isInteger(contextLength) || contextLength < 1 || contextLength >= 2 ** 32) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'cannot cut windows: the context length',
      expected: 'an integer of 1 or more',
      found: String(contextLength),
    });
  }
  const predictionsOf = (i: number) => corpus.offset(i + 1) - corpus.offset(i) - 1;
  let count = 0;
  let predictions = 0;
  for (let i = 0; i < corpus.documents; i++) {
    count += Math.ceil(predictionsOf(i) / contextLength);
    predictions += predictionsOf(i);
  }
  const start = new Float64Array(count);
  const length = contextLength < 65536 ? new Uint16Array(count) : new Uint32Array(count);
  const document = new Uint32Array(count);
  let window = 0;
  for (let i = 0; i < corpus.documents; i++) {
    const n = predictionsOf(i);
    for (let first = 0; first < n; first += contextLength) {
      start[window] = corpus.offset(i) + first;
      length[window] = Math.min(contextLength, n - first);
      document[window] = i;
      window++;
    }
  }
  return { count, contextLength, predictions, start, length, document };
}

/**
 * Refuses text too short to train or measure on: less than one full window of tokens in all.
 *
 * @param what names the text in the message, as in 'the domain legal.txt'
 * @throws SweetspotError SWEETSPOT_INPUT
 */
export function requireWindows(windows: Windows, what: string): void {
  if (windows.predictions >= windows.contextLength) return;
  throw new SweetspotError('SWEETSPOT_INPUT', {
    what: `${what} is too short`,
    expected: `at least ${windows.contextLength} tokens, one full window`,
    found: `${windows.predictions} tokens`,
    fix: 'give more text, or use a smaller context length',
  });
}
