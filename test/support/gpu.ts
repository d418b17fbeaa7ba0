import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const GPU_PROVIDERS = ['cuda', 'webgpu'] as const;
export type GpuProvider = (typeof GPU_PROVIDERS)[number];

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROBE = `
import { probeProvider } from '@elbo/server/inference/onnxruntime';
await probeProvider({ provider: process.argv[1], threads: 1 });
console.log('runs');`;

/** Why a session cannot run on a GPU here, found in a process of its own, as native code may end it; undefined where it can. */
export function absenceOf(provider: GpuProvider): string | undefined {
  const args = ['--input-type=module', '--eval', PROBE, provider];
  const { stdout, stderr, signal } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: 120_000,
  });
  if (stdout.includes('runs')) return undefined;
  if (signal !== null) return `the process that tried was ended by ${signal}`;
  return /^(?:\w*Error): (.+)$/m.exec(stderr)?.[1] ?? 'the process that tried said nothing';
}
