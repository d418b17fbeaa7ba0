import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** A caller's name and what is kept of its key. */
export interface ApiKey {
  readonly name: string;
  /** SHA-256 of the key, in hexadecimal digits. */
  readonly hash: string;
}

/** A key has 256 random bits, so a plain hash of it can't be guessed from; passwords would need a slow one. */
const KEY_BYTES = 32;

const ENTRY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-fA-F]{64})$/;

/** What an entry looks like, for messages, which never show the entry: it might be a key. */
export const KEY_ENTRY_FORM = 'NAME:HASH as make-key prints it (letters, digits, . _ -; 64 hexadecimal digits)';

/** @returns undefined for a text that isn't `NAME:HASH` */
export function parseApiKey(entry: string): ApiKey | undefined {
  const [, name, hash] = ENTRY.exec(entry) ?? [];
  return name === undefined || hash === undefined ? undefined : { name, hash: hash.toLowerCase() };
}

/** A new key, to be given to the caller, and what the server keeps of it. */
export function makeApiKey(name: string): { readonly key: string; readonly entry: string } {
  const key = `elbo_${randomBytes(KEY_BYTES).toString('base64url')}`;
  return { key, entry: `${name}:${sha256(key).toString('hex')}` };
}

/** Looks keys up in a time that tells nothing about them. */
export class KeyRing {
  readonly #keys: readonly { readonly name: string; readonly hash: Buffer }[];

  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.map(({ name, hash }) => ({ name, hash: Buffer.from(hash, 'hex') }));
  }

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  /** @returns the name of the key's owner; undefined for a key that isn't here */
  ownerOf(key: string): string | undefined {
    const given = sha256(key);
    let owner: string | undefined;
    // All of them, so that the time doesn't say which one it was.
    for (const { name, hash } of this.#keys) if (timingSafeEqual(given, hash)) owner = name;
    return owner;
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
