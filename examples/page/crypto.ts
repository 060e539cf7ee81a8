// What the library takes from node:crypto, for a page.
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

export function createHash(_algorithm: 'sha256') {
  const hash = sha256.create();
  const self = {
    update(data: string | Uint8Array) {
      hash.update(
        typeof data === 'string' ? utf8ToBytes(data) : new Uint8Array(data.buffer, data.byteOffset, data.length),
      );
      return self;
    },
    digest: (_encoding: 'hex') => bytesToHex(hash.digest()),
  };
  return self;
}

export const randomBytes = (n: number): Uint8Array => Buffer.from(crypto.getRandomValues(new Uint8Array(n)));
