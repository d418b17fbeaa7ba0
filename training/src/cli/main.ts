import { ModelStoreError } from '@elbo/models';
import { CommanderError } from 'commander';
import { DataError } from '../data/data-error.js';
import { EngineError } from '../engines/engine-error.js';
import { ParityError } from '../export/parity.js';
import { GraphError } from '../onnx/errors.js';
import { CheckpointError } from '../trainer/checkpoint.js';
import { TrainingError } from '../trainer/trainer.js';
import { ConfigurationError } from '../vae/configuration.js';
import { elboCommand } from './elbo-command.js';

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
  await elboCommand().parseAsync();
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
