import { elboCommand } from '@elbo/training/cli/elbo-command';
import { loadAnyPreset } from '@elbo/training/presets';
import { presetNames } from '@elbo/training/vae/configuration';
import type { Argument, Command, Option } from 'commander';
import { anchor, code, page, table } from './markdown.js';

/** Every command with its arguments and options. */
export function cliPage(): string {
  const commands = elboCommand().commands;
  return page(
    'Command line',
    [
      '`npx elbo COMMAND`, after `npm ci && npm run build`. Bad input is one line on stderr that says what was wrong and what would be',
      'right, and exit code 2; a run that Ctrl-C ended has exit code 130 and can be resumed. A terminal shows a progress bar, a pipe gets',
      'plain lines.',
    ].join('\n'),
    commands
      .map((command) => `- [${command.name()}](#${anchor(`elbo ${command.name()}`)}): ${command.description()}`)
      .join('\n'),
    ...commands.map(section),
    '## Presets',
    table(
      ['preset', 'what it is'],
      presetNames().map((name) => [code(name), loadAnyPreset(name).description]),
    ),
  );
}

function section(command: Command): string {
  const args = command.registeredArguments;
  const usage = ['elbo', command.name(), ...args.map(usageOf), '[options]'].join(' ');
  const described = args.filter(({ description }) => description !== '');
  return [
    `## elbo ${command.name()}`,
    `${sentence(command.description())}`,
    `Usage: ${code(usage)}`,
    ...(described.length === 0
      ? []
      : [
          table(
            ['argument', 'meaning'],
            described.map((argument) => [code(usageOf(argument)), argument.description]),
          ),
        ]),
    table(
      ['option', 'where it is left out', 'meaning'],
      command.options.map((option) => [code(option.flags), defaultOf(option), meaningOf(option)]),
    ),
  ].join('\n\n');
}

function usageOf(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function defaultOf({ defaultValue, defaultValueDescription, envVar }: Option): string {
  const isNone = defaultValue === undefined || (Array.isArray(defaultValue) && defaultValue.length === 0);
  const fallback = isNone ? '' : (defaultValueDescription ?? code(String(defaultValue)));
  return envVar === undefined ? fallback : [code(envVar), fallback].filter((text) => text !== '').join(', else ');
}

function meaningOf({ description, argChoices }: Option): string {
  return argChoices === undefined ? description : `${description}: ${argChoices.map(code).join(', ')}`;
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
