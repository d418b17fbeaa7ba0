import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RandomSource } from '@elbo/models';
import { inMemory, meanPerFeature, take } from '@elbo/training/data/dataset';
import { firstInputs } from '@elbo/training/evaluation/batches';
import { binarises } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { ContenderProcess } from './contender-process.js';
import type { Contender } from './contenders.js';
import { toOnnxOrder } from './kernel-order.js';
import type { Check, Job, Ready, Turn } from './protocol.js';
import type { Workload, WorkloadData } from './workloads.js';

export interface Plan {
  readonly threads: number;
  /** Of a turn. */
  readonly steps: number;
  /** Rounds of turns at the least; a contender that has not reached the target goes on after them. */
  readonly rounds: number;
  /** After so many rounds the target counts as not reached. */
  readonly maxRounds: number;
}

/** What one contender did. */
export interface Outcome {
  readonly ready: Ready;
  /** Loss and gradient norm of one batch with weights and noise that all contenders were given. */
  readonly check: Check;
  /** Turns that count: the first, in which programs are compiled, does not. */
  readonly turns: readonly Turn[];
  /** −ELBO of the validation part after every turn, the first one included. */
  readonly negativeElbos: readonly number[];
  /** Seconds of training until the target was reached, with what compiling took of the first turn; undefined: never. */
  readonly secondsToTarget: number | undefined;
  readonly peakMemory: number;
}

interface Participant {
  readonly contender: Contender;
  readonly process: ContenderProcess;
  readonly ready: Ready;
  readonly check: Check;
  readonly turns: Turn[];
  readonly negativeElbos: number[];
  seconds: number;
  secondsToTarget: number | undefined;
  peakMemory: number;
}

/**
 * Trains contenders in turns, each in a process of its own that idles while the others run, so that whatever else the
 * machine does falls on all of them.
 * @returns what each did, by name, and why those that failed did
 */
export async function measure(
  name: string,
  workload: Workload,
  data: WorkloadData,
  contenders: readonly Contender[],
  plan: Plan,
  directory: string,
  onProgress: (text: string) => void,
): Promise<{ outcomes: Record<string, Outcome>; failures: Record<string, string> }> {
  const { configuration } = workload;
  const job: Job = {
    workload: name,
    threads: plan.threads,
    seed: configuration.seed,
    batch_size: configuration.batch_size,
    total_steps: configuration.epochs * Math.floor(data.count / configuration.batch_size),
    learning_rate: configuration.optimiser.learning_rate,
    gradient_norm_limit: configuration.optimiser.gradient_norm_limit,
    latent_size: configuration.latent_size,
    data,
  };
  const files = await writeCheckFiles(workload, data, directory);
  const failures: Record<string, string> = {};
  const participants: Participant[] = [];
  try {
    for (const contender of contenders) {
      onProgress(`${name}: ${contender.label} starts`);
      try {
        const { process, ready } = await ContenderProcess.start(contender, job);
        const participant = { contender, process, ready, turns: [], negativeElbos: [], seconds: 0, peakMemory: 0 };
        participants.push({ ...participant, check: await process.check(files), secondsToTarget: undefined });
      } catch (error) {
        failures[contender.name] = (error as Error).message;
      }
    }
    const isBusy = (participant: Participant, round: number) =>
      round <= plan.rounds || (participant.secondsToTarget === undefined && round <= plan.maxRounds);
    for (let round = 0; participants.some((participant) => isBusy(participant, round)); round++) {
      for (const participant of participants.filter((candidate) => isBusy(candidate, round))) {
        onProgress(`${name}: round ${round}, ${participant.contender.label}`);
        await takeTurn(participant, workload.target, plan.steps, round > 0);
      }
    }
  } finally {
    for (const { process } of participants) process.stop();
  }
  const outcomes = participants.map(
    ({ contender, ready, check, turns, negativeElbos, secondsToTarget, peakMemory }) =>
      [contender.name, { ready, check, turns, negativeElbos, secondsToTarget, peakMemory }] as const,
  );
  return { outcomes: Object.fromEntries(outcomes), failures };
}

async function takeTurn(participant: Participant, target: number, steps: number, counts: boolean): Promise<void> {
  const turn = await participant.process.train(steps);
  participant.seconds += turn.ms / 1000;
  if (counts) participant.turns.push(turn);
  const { negative_elbo, peak_rss } = await participant.process.evaluate();
  participant.negativeElbos.push(negative_elbo);
  participant.peakMemory = peak_rss;
  if (negative_elbo <= target) participant.secondsToTarget ??= participant.seconds;
}

/** Weights, a batch and noise that every contender computes the loss and the gradients of. */
async function writeCheckFiles(
  { configuration, shape }: Workload,
  data: WorkloadData,
  directory: string,
): Promise<{ weights: string; x: string; noise: string }> {
  const { batch_size: rows, latent_size: latentSize, seed } = configuration;
  const examples = inMemory(await readFile(data.train), shape);
  const random = new RandomSource(seed);
  const model = buildModel(configuration, shape, { moments: await meanPerFeature(take(examples, 1000)) });
  const weights = model.parameters.map(({ shape, initialise }) => toOnnxOrder(initialise(random), shape));
  const { x: first } = await firstInputs(examples, { count: rows });
  const x = Float32Array.from(first.data as Float32Array, (pixel) =>
    binarises(configuration, 'uint8') ? Math.round(pixel) : pixel,
  );
  const noise = random.fillNormal(new Float32Array(rows * latentSize));
  const path = (part: string) => join(directory, `${configuration.dataset}-${latentSize}-${part}.f32`);
  await writeFile(path('weights'), Buffer.concat(weights.map((part) => new Uint8Array(part.buffer))));
  await writeFile(path('x'), x);
  await writeFile(path('noise'), noise);
  return { weights: path('weights'), x: path('x'), noise: path('noise') };
}
