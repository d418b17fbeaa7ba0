import { readFileSync } from 'node:fs';
import { ModelStoreError } from '@elbo/models';
import { Command, CommanderError } from 'commander';
import { DataError } from '../data/data-error.js';
import { EngineError } from '../engines/engine-error.js';
import { ParityError } from '../export/parity.js';
import { GraphError } from '../onnx/errors.js';
import { CheckpointError } from '../trainer/checkpoint.js';
import { TrainingError } from '../trainer/trainer.js';
import { ConfigurationError } from '../vae/configuration.js';
import { calibrateCommand } from './calibrate-command.js';
import { datasetsCommand, inspectCommand, presetsCommand } from './catalogue-commands.js';
import { encodeCommand, reconstructCommand, sampleCommand } from './encode-commands.js';
import { evaluateCommand } from './evaluate-command.js';
import { exportCommand } from './export-command.js';
import { fetchCommand } from './fetch-command.js';
import { pruneCommand } from './prune-command.js';
import { referenceCommand } from './reference-command.js';
import { reportCommand } from './report-command.js';
import { scoreCommand } from './score-command.js';
import { trainCommand } from './train-command.js';

/** Errors whose message is for the user; all others are defects and show their stack. */
const USER_ERRORS = [
  CheckpointError,
  ConfigurationError,
  DataError,
  EngineError,
  GraphError,
  ModelStoreError,
  ParityError,
  TrainingError,
];

const BAD_INPUT = 2;

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('elbo')
  .description('Train variational autoencoders and export them to ONNX.')
  .version(version)
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
  .configureOutput({ writeErr: (text) => process.stderr.write(text.replace(/^error: /, 'elbo: ')) });
for (const command of [
  trainCommand(),
  evaluateCommand(),
  scoreCommand(),
  encodeCommand(),
  reconstructCommand(),
  sampleCommand(),
  calibrateCommand(),
  reportCommand(),
  pruneCommand(),
  exportCommand(),
  referenceCommand(),
  inspectCommand(),
  presetsCommand(),
  datasetsCommand(),
  fetchCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
}

/** What the operating system refuses: a full disk, a missing right, a file where a directory should be. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

// Who reads no further, such as head, has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its line already.
    process.exitCode = error.exitCode === 0 ? 0 : BAD_INPUT;
  } else if (USER_ERRORS.some((type) => error instanceof type) || isSystemError(error)) {
    console.error(`elbo: ${(error as Error).message}`);
    process.exitCode = BAD_INPUT;
  } else {
    throw error;
  }
}
