import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { GRAPH_FILES, type GraphRole, type LoadedModel, readModel } from '@elbo/models';
import { Command } from 'commander';
import { datasetDescriptions, PATH_DESCRIPTION } from '../data/datasets.js';
import { publishedDatasets } from '../data/fetch.js';
import { type ModelSummary, summarise } from '../onnx/decode.js';
import { elementCount, formatShape, isStatic, type TensorType } from '../onnx/tensor.js';
import { loadAnyPreset } from '../presets.js';
import { presetNames } from '../vae/configuration.js';
import { jsonOption } from './options.js';

// Commands that only look: what presets and data sets there are, and what a model holds.

export function presetsCommand(): Command {
  return new Command('presets')
    .description('list the training presets, or show one as JSON')
    .argument('[name]')
    .addOption(jsonOption())
    .action((name: string | undefined, { json }: { json?: boolean }) => {
      if (name !== undefined) console.log(JSON.stringify(loadAnyPreset(name), null, json ? undefined : 2));
      else if (json)
        console.log(JSON.stringify(Object.fromEntries(presetNames().map((preset) => [preset, loadAnyPreset(preset)]))));
      else for (const preset of presetNames()) console.log(`${preset.padEnd(16)} ${loadAnyPreset(preset).description}`);
    });
}

export function datasetsCommand(): Command {
  return new Command('datasets')
    .description('list the data sets that have names; paths work as well')
    .addOption(jsonOption())
    .action(({ json }: { json?: boolean }) => {
      if (json) {
        console.log(JSON.stringify([...datasetDescriptions].map(([name, description]) => ({ name, description }))));
        return;
      }
      for (const [name, description] of datasetDescriptions) {
        const hint = publishedDatasets.has(name) ? ` (elbo fetch ${name})` : '';
        console.log(`${name.padEnd(16)} ${description}${hint}`);
      }
      console.log(PATH_DESCRIPTION);
    });
}

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('show what a model version or an .onnx file holds')
    .argument('<model>', 'directory of a version, such as models/mnist/1, or an .onnx file')
    .addOption(jsonOption())
    .action(async (path: string, { json }: { json?: boolean }) => {
      const isFile = (await stat(path).catch(() => undefined))?.isFile() ?? false;
      if (isFile) {
        const summary = summarise(await readFile(path));
        console.log(json ? JSON.stringify(summary) : describeGraph(path, summary));
        return;
      }
      const model = await readModel(path);
      const roles = Object.keys(GRAPH_FILES) as GraphRole[];
      const graphs = Object.fromEntries(roles.map((role) => [role, summarise(model.graphs[role])]));
      if (json) console.log(JSON.stringify({ manifest: model.manifest, graphs }));
      else
        console.log(
          [
            describeModel(model),
            ...roles.map((role) => describeGraph(join(path, GRAPH_FILES[role]), graphs[role])),
          ].join('\n\n'),
        );
    });
}

function describeModel({ manifest }: LoadedModel): string {
  const { input, latent, calibration, training, metrics } = manifest;
  return [
    `${manifest.name} ${manifest.version}: ${manifest.description}`,
    `family       ${manifest.family}, ${manifest.likelihood.kind} likelihood, ${manifest.prior.kind} prior`,
    `input        ${input.kind} ${formatShape(input.shape)}, values ${input.value_range.join(' to ')}`,
    `latent       ${latent.size} dimensions, ${latent.active_units} active`,
    `trained on   ${training.dataset.name}, ${training.dataset.train_examples} examples, ${training.epochs} epochs, seed ${training.seed}`,
    `calibration  ${calibration.size} held-out scores (${calibration.dataset})`,
    ...Object.entries(metrics).map(
      ([name, { value, unit }]) => `metric       ${name} ${value.toFixed(3)} ${unit ?? ''}`,
    ),
  ].join('\n');
}

function describeGraph(path: string, summary: ModelSummary): string {
  const values = Object.values(summary.initialisers).reduce(
    (total, { shape }) => total + (isStatic(shape) ? elementCount(shape) : 0),
    0,
  );
  const describe = (types: Readonly<Record<string, TensorType>>) =>
    Object.entries(types)
      .map(([name, { dtype, shape }]) => `${name} ${dtype} ${formatShape(shape)}`)
      .join(', ');
  return [
    `${path}: opset ${summary.opset}, by ${summary.producer}`,
    `  in         ${describe(summary.inputs)}`,
    `  out        ${describe(summary.outputs)}`,
    `  operators  ${Object.entries(summary.operators)
      .map(([operator, count]) => `${operator} ${count}`)
      .join(', ')}`,
    `  constants  ${values.toLocaleString('en')} numbers in ${Object.keys(summary.initialisers).length} tensors`,
  ].join('\n');
}
