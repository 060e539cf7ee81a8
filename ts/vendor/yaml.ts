// yaml, as much of it as is used; see zod.ts.
export { parse } from 'yaml';
