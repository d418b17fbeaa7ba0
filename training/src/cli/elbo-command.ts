import { readFileSync } from 'node:fs';
import { Command } from 'commander';
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

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** The command line: every command with its arguments and options. It throws where commander would end the process. */
export function elboCommand(): Command {
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
  return program;
}
