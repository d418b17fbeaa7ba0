/** The command `elbo-server`. Its settings are environment variables, which suit containers and unit files alike. */
import { VERSION } from './version.js';

const USAGE = `usage: elbo-server                 serve the model store
       elbo-server make-key NAME   make an API key
       elbo-server --help | --version
`;

const BAD_INPUT = 2;

const [command, ...rest] = process.argv.slice(2);
if (command === undefined) {
  await import('./main.js');
} else if (command === 'make-key') {
  // It is a program of its own as well, whose first argument is the name.
  process.argv.splice(2, 1);
  await import('./make-key.js');
} else if (command === '--help' && rest.length === 0) {
  const { variablesHelp } = await import('./variables.js');
  process.stdout.write(`${USAGE}\n${variablesHelp()}\n`);
} else if (command === '--version' && rest.length === 0) {
  process.stdout.write(`${VERSION}\n`);
} else {
  process.stderr.write(`elbo-server: ${process.argv.slice(2).join(' ')} is not a command\n${USAGE}`);
  process.exitCode = BAD_INPUT;
}
