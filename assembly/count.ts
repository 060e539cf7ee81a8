// How many of a row's groups take part: the operand `count` is data, so it is checked before it bounds a loop.
import { fail } from './control';

/** count[0], or all `groups` when count is absent. Fails the row and returns -1 when there are fewer groups than that. */
export function countInside(count: usize, groups: u32): i32 {
  const given = count == 0 ? <i32>groups : load<i32>(count);
  if (given >= 0 && <u32>given <= groups) return given;
  fail('a count of {} is outside the {} groups', given, groups);
  return -1;
}
