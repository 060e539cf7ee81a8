// Tests of types: these files are compiled with the rest and never run. A `@ts-expect-error` without an error is one.

/** Whether two types are the same, optional and readonly properties included. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles when `Result` is true: `expect<Equal<A, B>>()`. */
export declare function expect<_Result extends true>(): void;

/** A value of a type, for calls. */
export declare function any<T>(): T;
