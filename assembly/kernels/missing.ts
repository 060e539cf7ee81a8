// Ops whose kernel is not written yet.
import { fail } from '../control';
import * as R from '../ops.gen';

