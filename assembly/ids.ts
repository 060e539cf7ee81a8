// The check that kernels taking ids from data make before they use one as an address.
import { fail } from './control';

/**
 * True when all n ids are below `rows` and, unless `skipNegative`, not negative. Otherwise fails the row with the first bad id:
 * `message` has a {} for the id, one for `rows` and one for its position.
 */
export function idsInside(message: string, ids: usize, n: usize, rows: u32, skipNegative: bool): bool {
  // Extremes first; the search for the culprit is only for the message.
  let lows = i32x4.splat(0), highs = i32x4.splat(-1);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) {
    const four = v128.load(ids + (i << 2));
    lows = i32x4.min_s(lows, four);
    highs = i32x4.max_s(highs, four);
  }
  let low = 0, high = -1;
  for (; i < n; i++) {
    const id = load<i32>(ids + (i << 2));
    low = min(low, id);
    high = max(high, id);
  }
  low = min(low, lowest(lows));
  high = max(high, ~lowest(v128.not(highs)));
  if (<i64>high < <i64>rows && (skipNegative || low >= 0)) return true;
  for (i = 0; i < n; i++) {
    const id = load<i32>(ids + (i << 2));
    if (id < 0 ? skipNegative : <u32>id < rows) continue;
    fail(message, <f64>id, <f64>rows, <f64>i);
    break;
  }
  return false;
}

function lowest(v: v128): i32 {
  return min(
    min(i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1)),
    min(i32x4.extract_lane(v, 2), i32x4.extract_lane(v, 3)),
  );
}
