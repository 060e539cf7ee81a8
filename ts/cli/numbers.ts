// Numbers as people type them: 10M, 1.5k, 20_000, 1e6. Each function makes a parser for one flag, so that the error can
// name the flag.
import { SweetspotError } from '../backend/errors.js';
import { parseCount } from '../io/numbers.js';

function refuse(flag: string, expected: string, found: string): never {
  throw new SweetspotError('SWEETSPOT_USAGE', { what: `${flag} has a value that cannot be used`, expected, found });
}

/**
 * Parser of whole numbers: digits with `_` between them, a decimal point, an exponent, and one of the suffixes k, M, G
 * or B (1e3, 1e6, 1e9, 1e9; upper or lower case), as long as the product is whole.
 * @throws SweetspotError SWEETSPOT_USAGE, from the parser, for anything else and for numbers below `least`
 */
export function count(flag: string, least = 1): (text: string) => number {
  return (text) => {
    const value = parseCount(text);
    if (value === undefined || value < least) {
      refuse(flag, `a whole number from ${least} up, like 4096, 20_000, 1.5k or 10M`, text);
    }
    return value;
  };
}

/**
 * Parser of decimal numbers.
 * @throws SweetspotError SWEETSPOT_USAGE, from the parser, for text that is not a finite number
 */
export function real(flag: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isFinite(value)) refuse(flag, 'a number, like 0.5 or 1e-3', text);
    return value;
  };
}

/**
 * Parser of lists of whole numbers: `0,1,5`.
 * @throws SweetspotError SWEETSPOT_USAGE, from the parser, for anything else
 */
export function list(flag: string): (text: string) => number[] {
  return (text) => {
    const parts = text.split(',').map((part) => part.trim());
    if (!parts.every((part) => /^\d{1,9}$/.test(part)))
      refuse(flag, 'whole numbers with commas between, like 0,1,2', text);
    return parts.map(Number);
  };
}
