// zod, as much of it as is used. The build replaces the compiled file by one that holds it (scripts/bundle.mjs), so that
// an installed package needs no zod: its 8 MB of files, and the time to find a hundred of them at every start.
export {
  array,
  boolean,
  type core,
  enum,
  int,
  literal,
  NEVER,
  number,
  object,
  type output,
  preprocess,
  record,
  strictObject,
  string,
  union,
  unknown,
  type ZodError,
  type ZodRawShape,
  type ZodType,
} from 'zod';
