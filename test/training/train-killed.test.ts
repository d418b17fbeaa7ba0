import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';

const cli = fileURLToPath(new URL('../../training/bin/elbo.js', import.meta.url));
const ARGUMENTS = [
  'train',
  '--preset',
  'shapes-mlp',
  '--limit',
  '800',
  '--epochs',
  '12',
  '--threads',
  '1',
  '--seed',
  '5',
];

/** Runs `elbo train` with a checkpoint after every run of the graph. */
function start(out: string, ...more: string[]) {
  const args = [cli, ...ARGUMENTS, '--checkpoint-seconds', '0', '--out', out, ...more];
  const child = spawn(process.execPath, args, { env: { PATH: process.env.PATH } });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  return { child, ended, seen: () => stderr };
}

/** Names of the checkpoints that a store holds. */
function checkpoints(out: string): string[] {
  try {
    const [run] = readdirSync(join(out, '.checkpoints'));
    return readdirSync(join(out, '.checkpoints', run)).filter((file) => file.endsWith('.checkpoint'));
  } catch {
    return [];
  }
}

/** Kills the process as soon as an epoch has ended; what it is at then differs from run to run. */
async function killedAfterEpoch(epoch: number, out: string, ...more: string[]): Promise<void> {
  const { child, ended } = start(out, ...more);
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
    if (text.includes(`epoch ${epoch}:`)) child.kill('SIGKILL');
  });
  expect((await ended).signal).toBe('SIGKILL');
}

test('a run that is killed again and again goes on from its last checkpoint to the same files', async () => {
  const [whole, broken] = [temporaryDirectory(), temporaryDirectory()];
  expect((await start(whole).ended).code).toBe(0);

  await killedAfterEpoch(3, broken);
  const kept = checkpoints(broken);
  expect(kept.length).toBeGreaterThan(0);
  expect(kept.length).toBeLessThanOrEqual(3);
  await killedAfterEpoch(7, broken, '--resume');
  const { code, stderr } = await start(broken, '--resume').ended;
  expect(code).toBe(0);
  // At most the run of the graph in flight was lost: epochs that were reported long before are not trained again.
  expect(stderr).not.toContain('epoch 6:');
  expect(stderr).toContain('epoch 12:');
  for (const file of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx', 'calibration.f32', 'training-curves.svg']) {
    const [expected, actual] = [whole, broken].map((out) => readFileSync(join(out, 'shapes', '1', file)));
    expect(actual.equals(expected), file).toBe(true);
  }
  expect(readdirSync(join(broken, '.checkpoints'))).toEqual([]);
}, 240_000);
