import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { npyHeader, readModel, thresholdAt } from '@elbo/models';
import { type Examples, take } from '@elbo/training/data/dataset';
import { datasetOf } from '@elbo/training/data/datasets';
import { openExamples } from '@elbo/training/data/example-reader';
import type { Engine } from '@elbo/training/engines/engine';
import { inputBatches, unitInterval } from '@elbo/training/evaluation/batches';
import { ServedModel } from '@elbo/training/offline/served-model';
import { train } from '@elbo/training/train';
import { areaUnderRoc, falseAlarmInterval } from './detection.js';
import type { Task } from './tasks.js';

/** What one task gave. */
export interface Measurement {
  readonly group: string;
  readonly name: string;
  readonly auroc: number;
  /** Normal held-out examples above the threshold of 1 %, and how many there may be in 99 of 100 calibrations. */
  readonly alarms:
    | { readonly count: number; readonly of: number; readonly interval: readonly [number, number] }
    | undefined;
  readonly seconds: number;
  /** AUROC of the Python detectors, where they were asked for; null where one could not take the data. */
  readonly peers?: Readonly<Record<string, number | null>>;
}

const RATE = 0.01;
/** Images that peers are measured on, of each kind: some take seconds for a thousand. */
const PEER_IMAGES = 1000;
const PEERS = fileURLToPath(new URL('../../anomaly/peers/peers.py', import.meta.url));

export async function measure(
  engine: Engine,
  task: Task,
  { models, python }: { readonly models: string; readonly python?: string | undefined },
): Promise<Measurement> {
  const started = performance.now();
  const store = await mkdtemp(join(tmpdir(), 'elbo-anomaly-'));
  try {
    const loaded = await readModel(await directoryOf(engine, task, store, models));
    const model = await ServedModel.open(engine, loaded);
    const scoresOf = async (examples: Examples) => {
      const scores: number[] = [];
      for await (const { feeds } of inputBatches(examples)) scores.push(...(await model.score(feeds)).scores);
      return Float32Array.from(scores);
    };
    const [normal, anomalous] = [await scoresOf(task.normal), await scoresOf(task.anomalous)];
    await model.release();
    const { calibration } = loaded.manifest;
    const rank = Math.floor(RATE * (calibration.size + 1));
    const isStated = rank >= 1;
    const threshold = isStated ? thresholdAt(calibration, loaded.calibrationScores, RATE) : Number.POSITIVE_INFINITY;
    return {
      group: task.group,
      name: task.name,
      auroc: areaUnderRoc(normal, anomalous),
      alarms: isStated
        ? {
            count: normal.filter((score) => score > threshold).length,
            of: normal.length,
            interval: falseAlarmInterval(rank, calibration.size, normal.length),
          }
        : undefined,
      seconds: (performance.now() - started) / 1000,
      ...(python !== undefined &&
        'train' in task.training && { peers: await peersOf(python, task, task.training.train) }),
    };
  } finally {
    await rm(store, { recursive: true, force: true });
  }
}

async function directoryOf(engine: Engine, { training, normal }: Task, store: string, models: string): Promise<string> {
  if ('model' in training) return join(models, training.model, '1');
  const dataset = await datasetOf('anomaly-task', { train: training.train, test: normal });
  const result = await train({ engine, store, dataset, configuration: training.configuration });
  if (result === undefined) throw new Error('the training was interrupted');
  return result.directory;
}

async function peersOf(python: string, task: Task, rows: Examples): Promise<Record<string, number | null>> {
  const directory = await mkdtemp(join(tmpdir(), 'elbo-peers-'));
  const limit = task.group === 'tables' ? Number.POSITIVE_INFINITY : PEER_IMAGES;
  try {
    await writeNpy(join(directory, 'train.npy'), rows);
    await writeNpy(join(directory, 'normal.npy'), take(task.normal, limit));
    await writeNpy(join(directory, 'anomalous.npy'), take(task.anomalous, limit));
    const { stdout } = await promisify(execFile)(python, [PEERS, directory], { maxBuffer: 1 << 26 });
    return JSON.parse(stdout) as Record<string, number | null>;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeNpy(path: string, examples: Examples): Promise<void> {
  const reader = await openExamples(examples);
  const values = unitInterval(await reader.range(0, examples.count).finally(() => reader.close()));
  const header = npyHeader('<f4', [examples.count, values.length / examples.count]);
  await writeFile(path, Buffer.concat([header, Buffer.from(Float32Array.from(values).buffer)]));
}
