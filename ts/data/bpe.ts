// The mathematics of byte-level byte pair encoding: the alphabet of byte symbols, the cut into words, the rule that
// applies merges to a word, and the training that finds them. No files and no JSON: `tokenizer.ts` has those.
// All of it follows GPT-2 (Radford et al. 2019) as Hugging Face runs it: `ByteLevel(add_prefix_space=false,
// use_regex=true)` with a `BPE` model. To change how text is cut into words, change `wordEnd` and give
// `tokenizer.json` the pre-tokenizer that says the same: the test against npm `tokenizers` compares the two.

import type { Pace } from './readers.js';

const inRange = (byte: number, first: number, last: number) => byte >= first && byte <= last;
const printable = (byte: number) => inRange(byte, 33, 126) || inRange(byte, 161, 172) || inRange(byte, 174, 255);
const allBytes = Array.from({ length: 256 }, (_, byte) => byte);

/** The 256 bytes in the order of GPT-2's table: those that print as themselves, then the others. */
export const BYTE_ORDER: readonly number[] = [
  ...allBytes.filter(printable),
  ...allBytes.filter((byte) => !printable(byte)),
];

/** Byte to the one character that stands for it in tokenizer.json: itself, or the next character from U+0100 on. */
export const BYTE_SYMBOLS: readonly string[] = allBytes.map((byte) =>
  String.fromCharCode(printable(byte) ? byte : 256 + allBytes.filter((b) => b < byte && !printable(b)).length),
);

/** The inverse of `BYTE_SYMBOLS`. */
export const SYMBOL_BYTES: ReadonlyMap<string, number> = new Map(BYTE_SYMBOLS.map((symbol, byte) => [symbol, byte]));

const LETTER = 1;
const NUMBER = 2;
const WHITE = 3;
const OTHER = 4;
/** Per code point, 0 = not asked yet: scripts that never occur cost nothing. */
const kinds = new Uint8Array(0x110000);

// Letters and numbers new in Unicode 17. Node's tables may have them, those of Hugging Face (Unicode 16) do not; as
// pairs first, last.
const NEWER_THAN_UNICODE_16 = [
  0x88f, 0x88f, 0xc5c, 0xc5c, 0xcdc, 0xcdc, 0xa7ce, 0xa7cf, 0xa7d2, 0xa7d2, 0xa7d4, 0xa7d4, 0xa7f1, 0xa7f1, 0x10940,
  0x10959, 0x10ec5, 0x10ec7, 0x11db0, 0x11ddb, 0x11de0, 0x11de9, 0x16ea0, 0x16eb8, 0x16ebb, 0x16ed3, 0x16ff2, 0x16ff6,
  0x187f8, 0x187ff, 0x18d09, 0x18d1e, 0x18d80, 0x18df2, 0x1e6c0, 0x1e6de, 0x1e6e0, 0x1e6e2, 0x1e6e4, 0x1e6e5, 0x1e6e7,
  0x1e6ed, 0x1e6f0, 0x1e6f4, 0x1e6fe, 0x1e6ff, 0x2b73a, 0x2b73f, 0x2cea2, 0x2cead, 0x323b0, 0x33479,
];

function classify(code: number): number {
  const character = String.fromCodePoint(code);
  let kind = OTHER;
  // \s of JavaScript differs from White_Space in U+0085 and U+FEFF.
  if (/\p{White_Space}/u.test(character)) kind = WHITE;
  else if (/\p{L}/u.test(character)) kind = LETTER;
  else if (/\p{N}/u.test(character)) kind = NUMBER;
  for (let i = 0; i < NEWER_THAN_UNICODE_16.length; i += 2) {
    if (inRange(code, NEWER_THAN_UNICODE_16[i]!, NEWER_THAN_UNICODE_16[i + 1]!)) kind = OTHER;
  }
  kinds[code] = kind;
  return kind;
}

/** The code point at `at`; half a surrogate pair stands for itself and counts as OTHER, like the U+FFFD it becomes. */
function codeAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return (unit & 0xfc00) === 0xd800 ? text.codePointAt(at)! : unit;
}

const kindOf = (code: number) => kinds[code] || classify(code);

/**
 * The end (exclusive) of the word that starts at `start`; words are never merged across. By hand, because it is several
 * times faster than the pattern it equals:
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, with \s meaning White_Space.
 */
export function wordEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === 0x27) {
    const next = text[start + 1];
    if (next === 's' || next === 't' || next === 'm' || next === 'd') return start + 2;
    const two = text.slice(start + 1, start + 3);
    if (two === 're' || two === 've' || two === 'll') return start + 3;
  }
  let end = start;
  let kind = kindOf(codeAt(text, start));
  if (first === 0x20 && start + 1 < text.length) {
    const next = kindOf(codeAt(text, start + 1));
    if (next !== WHITE) {
      kind = next;
      end++;
    }
  }
  while (end < text.length) {
    const code = codeAt(text, end);
    if (kindOf(code) !== kind) break;
    end += code > 0xffff ? 2 : 1;
  }
  // Of a run of white space before a word, the last character is left for the word.
  return kind === WHITE && end < text.length && end - start > 1 ? end - 1 : end;
}

/** A hash table from pairs of ids to small integers >= 0: open addressing in flat arrays, several times a Map's speed. */
export class PairTable {
  #left: Int32Array;
  #right: Int32Array;
  #value: Int32Array;
  #size = 0;

  /** @param expected number of pairs; the table grows when there are more */
  constructor(expected: number) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(16, expected * 2)));
    this.#left = new Int32Array(capacity);
    this.#right = new Int32Array(capacity);
    this.#value = new Int32Array(capacity).fill(-1);
  }

  /** The value of the pair, -1 when there is none. */
  get(left: number, right: number): number {
    return this.#value[this.#slot(left, right)]!;
  }

  set(left: number, right: number, value: number): void {
    const slot = this.#slot(left, right);
    if (this.#value[slot] === -1) this.#size++;
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#value[slot] = value;
    if (this.#size * 2 > this.#value.length) this.#grow();
  }

  #slot(left: number, right: number): number {
    const mask = this.#value.length - 1;
    const hash = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b);
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (this.#value[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right)) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const [left, right, value] = [this.#left, this.#right, this.#value];
    this.#left = new Int32Array(value.length * 2);
    this.#right = new Int32Array(value.length * 2);
    this.#value = new Int32Array(value.length * 2).fill(-1);
    this.#size = 0;
    for (let i = 0; i < value.length; i++) if (value[i] !== -1) this.set(left[i]!, right[i]!, value[i]!);
  }
}

/** A binary heap, largest priority first, and among equals the smallest tie first. */
class Heap {
  readonly #priority: number[] = [];
  readonly #tie: number[] = [];
  readonly #value: number[] = [];

  get size(): number {
    return this.#value.length;
  }

  push(priority: number, tie: number, value: number): void {
    let at = this.#value.length;
    this.#place(at, priority, tie, value);
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = (at - 1) >> 1;
      if (!this.#before(priority, tie, parent)) break;
      this.#place(at, this.#priority[parent]!, this.#tie[parent]!, this.#value[parent]!);
    }
    this.#place(at, priority, tie, value);
  }

  /** Removes and returns the first entry; the heap must not be empty. */
  pop(): { readonly priority: number; readonly value: number } {
    const top = { priority: this.#priority[0]!, value: this.#value[0]! };
    const priority = this.#priority.pop()!;
    const tie = this.#tie.pop()!;
    const value = this.#value.pop()!;
    const size = this.#value.length;
    if (size === 0) return top;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      const other = child + 1;
      if (other < size && this.#before(this.#priority[other]!, this.#tie[other]!, child)) child = other;
      if (this.#before(priority, tie, child)) break;
      this.#place(at, this.#priority[child]!, this.#tie[child]!, this.#value[child]!);
      at = child;
    }
    this.#place(at, priority, tie, value);
    return top;
  }

  #place(at: number, priority: number, tie: number, value: number): void {
    this.#priority[at] = priority;
    this.#tie[at] = tie;
    this.#value[at] = value;
  }

  #before(priority: number, tie: number, at: number): boolean {
    const other = this.#priority[at]!;
    return priority > other || (priority === other && tie < this.#tie[at]!);
  }
}

/**
 * Applies merges to a word in place: always the pair of the lowest rank, the leftmost of equals, until none is left.
 * Time n log n, so a word of a million letters is no trap.
 *
 * @param ids the symbols of the word; the first `length` entries
 * @param ranks pair to rank
 * @param results rank to the id that replaces the pair
 * @returns the new length
 */
export function applyMerges(ids: Int32Array, length: number, ranks: PairTable, results: ArrayLike<number>): number {
  // A linked list over positions; a merged pair keeps the position of its left half, the right one becomes -1.
  const next = Int32Array.from({ length }, (_, i) => i + 1);
  const previous = Int32Array.from({ length }, (_, i) => i - 1);
  const heap = new Heap();
  const offer = (at: number) => {
    if (at < 0 || next[at]! >= length) return;
    const rank = ranks.get(ids[at]!, ids[next[at]!]!);
    if (rank !== -1) heap.push(-rank, at, at);
  };
  for (let i = 0; i < length; i++) offer(i);
  while (heap.size > 0) {
    const { priority, value: at } = heap.pop();
    const right = next[at]!;
    // Entries are not removed when a neighbour merges first; they no longer fit and are dropped here.
    if (ids[at] === -1 || right >= length || ranks.get(ids[at]!, ids[right]!) !== -priority) continue;
    ids[at] = results[-priority]!;
    ids[right] = -1;
    next[at] = next[right]!;
    if (next[at]! < length) previous[next[at]!] = at;
    offer(previous[at]!);
    offer(at);
  }
  let kept = 0;
  for (let i = 0; i < length; i++) if (ids[i] !== -1) ids[kept++] = ids[i]!;
  return kept;
}

/** Pairs are ordered by (left, right) as one number, exact for ids below 2^26. */
const PAIR_KEY = 2 ** 26;

export interface LearnOptions {
  /** Contents of the tokens with ids 0, 1, ...; the byte symbols follow, then what is learned. */
  readonly specialTokens: readonly string[];
  readonly vocabSize: number;
  /** A pair seen less often is not merged. */
  readonly minFrequency: number;
  readonly pace: Pace;
  /** Called now and then with the size of the vocabulary so far. */
  readonly onProgress: (vocabSize: number) => void;
}

/**
 * Trains byte pair encoding: again and again merges the most frequent pair of neighbours, ties going to the smaller
 * pair of ids. Counts are kept up to date by visiting only the words that hold the pair.
 *
 * @param counts how often each word (of `wordEnd`) occurs
 * @returns `tokens`, the symbols of every id in order, and `merges` as pairs of ids, first learned first. Fewer than
 *   `vocabSize` tokens when no pair is frequent enough.
 */
export async function learnMerges(
  counts: ReadonlyMap<string, number>,
  { specialTokens, vocabSize, minFrequency, pace, onProgress }: LearnOptions,
): Promise<{ tokens: string[]; merges: [number, number][] }> {
  const tokens = [...specialTokens, ...BYTE_ORDER.map((byte) => BYTE_SYMBOLS[byte]!)];
  const byteIds = BYTE_SYMBOLS.map((symbol) => tokens.indexOf(symbol));
  const merges: [number, number][] = [];

  const words: Int32Array[] = [];
  const wordCounts: number[] = [];
  const pairIndex = new PairTable(1 << 16);
  const pairs: { left: number; right: number; count: number; words: number[]; changed: boolean }[] = [];
  const heap = new Heap();

  /** Adds `by` occurrences to a pair; a pair that gained is remembered in `gained`. */
  let gained: number[] = [];
  const count = (left: number, right: number, by: number, word: number) => {
    let index = pairIndex.get(left, right);
    if (index === -1) {
      index = pairs.length;
      pairs.push({ left, right, count: 0, words: [], changed: false });
      pairIndex.set(left, right, index);
    }
    const pair = pairs[index]!;
    pair.count += by;
    if (by < 0) return;
    if (pair.words[pair.words.length - 1] !== word) pair.words.push(word);
    if (pair.changed) return;
    pair.changed = true;
    gained.push(index);
  };
  const enqueue = () => {
    for (const index of gained) {
      const pair = pairs[index]!;
      pair.changed = false;
      heap.push(pair.count, pair.left * PAIR_KEY + pair.right, index);
    }
    gained = [];
  };
  const turn = async () => {
    const rest = pace.breathe();
    if (rest === undefined) return;
    await rest;
    onProgress(tokens.length);
  };

  for (const [text, occurrences] of counts) {
    const word = words.length;
    const ids = Int32Array.from(Buffer.from(text), (byte) => byteIds[byte]!);
    for (let i = 0; i + 1 < ids.length; i++) count(ids[i]!, ids[i + 1]!, occurrences, word);
    words.push(ids);
    wordCounts.push(occurrences);
    if ((word & 255) === 0) await turn();
  }
  enqueue();

  while (tokens.length < vocabSize && heap.size > 0) {
    const { priority, value: index } = heap.pop();
    const pair = pairs[index]!;
    // Counts that fell are corrected when their turn comes, not in the heap.
    if (priority !== pair.count) {
      if (priority > pair.count) heap.push(pair.count, pair.left * PAIR_KEY + pair.right, index);
      continue;
    }
    if (pair.count < minFrequency) break;
    const token = tokens[pair.left]! + tokens[pair.right]!;
    // Text must never become a special token.
    if (specialTokens.includes(token)) continue;
    // No other pair has spelled this token: merges apply everywhere at once, so the same letters between the same
    // borders are always in the same pieces.
    const id = tokens.length;
    tokens.push(token);
    merges.push([pair.left, pair.right]);
    const affected = pair.words;
    pair.words = [];
    for (const [nth, word] of affected.entries()) {
      words[word] = mergePair(words[word]!, pair.left, pair.right, id, (left, right, by) =>
        count(left, right, by * wordCounts[word]!, word),
      );
      if ((nth & 255) === 0) await turn();
    }
    pair.count = 0;
    enqueue();
    await turn();
  }
  return { tokens, merges };
}

/** Replaces every (left, right) in a word by `id`, from the left, and reports each pair of neighbours gone or new. */
function mergePair(
  word: Int32Array,
  left: number,
  right: number,
  id: number,
  changed: (left: number, right: number, by: 1 | -1) => void,
): Int32Array {
  let kept = 0;
  for (let i = 0; i < word.length; i++) {
    if (word[i] !== left || i + 1 >= word.length || word[i + 1] !== right) {
      word[kept++] = word[i]!;
      continue;
    }
    if (kept > 0) {
      changed(word[kept - 1]!, left, -1);
      changed(word[kept - 1]!, id, 1);
    }
    if (i + 2 < word.length) {
      changed(right, word[i + 2]!, -1);
      changed(id, word[i + 2]!, 1);
    }
    word[kept++] = id;
    i++;
  }
  return word.subarray(0, kept);
}
