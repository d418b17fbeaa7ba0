import { CodecError } from './errors.js';

/**
 * Decodes base64 or base64url, padded or not, and nothing else: Node's own decoder skips what it doesn't know.
 * @throws {CodecError} INVALID_INPUT, naming the field
 */
export function bytesFromBase64(text: string, field: string): Buffer {
  const unpadded = text.replace(/={1,2}$/, '');
  const standard = unpadded.includes('+') || unpadded.includes('/');
  const bytes = Buffer.from(unpadded, standard ? 'base64' : 'base64url');
  // Encoding it again gives back only what was canonical, in one alphabet.
  const canonical =
    bytes.toString(standard ? 'base64' : 'base64url').replace(/=+$/, '') === unpadded &&
    (text.length === unpadded.length || text.length % 4 === 0);
  if (!canonical) throw new CodecError('INVALID_INPUT', `${field} is not base64 or base64url`);
  if (bytes.byteLength === 0) throw new CodecError('INVALID_INPUT', `${field} is empty; expected a base64 image`);
  return bytes;
}
