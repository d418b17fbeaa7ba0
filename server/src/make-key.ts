/** Makes an API key: `elbo-server make-key NAME`. */
import { makeApiKey, parseApiKey } from './api-keys.js';

const [name = ''] = process.argv.slice(2);
const { key, entry } = makeApiKey(name);
if (parseApiKey(entry) === undefined) {
  process.stderr.write('usage: make-key NAME, of letters, digits, . _ - (64 at most)\n');
  process.exit(2);
}
process.stdout.write(`${key}\n${entry}\n`);
process.stderr.write(
  'The first line is the key, for its owner; it is shown only now. The second goes into ELBO_API_KEYS or ELBO_ADMIN_KEYS.\n',
);
