// Options as callers give them: a key that is present but undefined means "not given".

/** `given` without its undefined values, so that spreading it does not erase defaults. */
export function defined<T extends object>(given: T | undefined): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => value !== undefined)) as never;
}
