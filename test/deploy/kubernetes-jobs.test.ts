import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listModels, readManifest } from '@elbo/models';
import type { IJobSpec } from 'kubernetes-models/batch/v1';
import { describe, expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { encodeNpy } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { BUILDS } from './support/manifests.js';

// The commands of the jobs are run as they stand, on directories in place of the volumes.

/** So that a run takes seconds. */
const SMALL = ['--epochs=1', '--limit=200'];

interface IndexedSpec extends IJobSpec {
  readonly backoffLimitPerIndex?: number;
}

class Job {
  readonly spec: IndexedSpec;
  readonly #configMaps: ReadonlyMap<string, Readonly<Record<string, string>>>;

  constructor(build: string) {
    const objects = BUILDS.get(build) ?? [];
    this.spec = objects.find(({ kind }) => kind === 'Job')?.spec as IndexedSpec;
    this.#configMaps = new Map(
      objects
        .filter(({ kind }) => kind === 'ConfigMap')
        .map(({ metadata, data }) => [metadata.name, data as Record<string, string>]),
    );
  }

  get container() {
    const { containers = [] } = this.spec.template.spec ?? {};
    return containers[0];
  }

  get indices(): number[] {
    return Array.from({ length: this.spec.completions ?? 1 }, (_, index) => index);
  }

  /** The arguments of a pod: what the kubelet fills in, and directories for the mounts. */
  arguments(index: number, volumes: Readonly<Record<string, string>>): string[] {
    const variables: Record<string, string> = {
      JOB_COMPLETION_INDEX: String(index),
      CPU_LIMIT: this.container.resources?.limits?.cpu?.toString() ?? '',
    };
    const mounts = (this.container.volumeMounts ?? []).map(({ name, mountPath, readOnly }) => {
      const volume = this.spec.template.spec?.volumes?.find((one) => one.name === name);
      return { mountPath, readOnly, directory: volumes[name] ?? this.#settings(volume?.configMap?.name ?? '') };
    });
    return (this.container.args ?? []).map((argument) => {
      const text = argument.replaceAll(/\$\(([A-Z_]+)\)/g, (_, name: string) => variables[name] ?? `no ${name}`);
      const [, option = '', path] = /^(--[a-z-]+=)?(\/.*)$/.exec(text) ?? [];
      if (path === undefined) return text;
      const mount = mounts.find(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`));
      if (mount === undefined) throw new Error(`${path} is on no volume`);
      if (option === '--out=' && mount.readOnly) throw new Error(`${path} cannot be written`);
      return `${option}${mount.directory}${path.slice(mount.mountPath.length)}`;
    });
  }

  #settings(configMap: string): string {
    const directory = temporaryDirectory();
    for (const [file, text] of Object.entries(this.#configMaps.get(configMap) ?? {})) {
      writeFileSync(join(directory, file), text);
    }
    return directory;
  }
}

const train = new Job('jobs/train');
const score = new Job('jobs/score');
const sweep = new Job('jobs/sweep');

describe('jobs', () => {
  test.each(Object.entries({ train, score, sweep }))(
    '%s fails at once for bad input, and not for a drained node',
    async (_, job) => {
      const { rules = [] } = job.spec.podFailurePolicy ?? {};
      const isIndexed = job.spec.completionMode === 'Indexed';
      const { code } = await elbo([...(job.container.args ?? []), '--no-such-option']);
      expect(rules.find(({ onExitCodes }) => onExitCodes?.values.includes(code ?? 0))).toMatchObject({
        action: isIndexed ? 'FailIndex' : 'FailJob',
        onExitCodes: { containerName: job.container.name, operator: 'In' },
      });
      expect(rules.find(({ onPodConditions }) => onPodConditions !== undefined)).toMatchObject({
        action: 'Ignore',
        onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }],
      });
      expect(job.spec.template.spec?.restartPolicy).toBe('Never');
      if (isIndexed) expect(job.spec.backoffLimitPerIndex).toBeGreaterThan(0);
    },
  );

  test('train writes a model to the store, and score scores each part of a data set by it', async () => {
    const volumes = { models: temporaryDirectory(), data: temporaryDirectory() };
    const trained = await elbo([...train.arguments(0, volumes), ...SMALL]);
    expect(trained).toMatchObject({ code: 0, stderr: expect.stringContaining('epoch 1:') });
    expect((await listModels(volumes.models)).map(({ name, version }) => `${name}/${version}`)).toEqual(['shapes/1']);

    mkdirSync(join(volumes.data, 'shards'));
    for (const index of score.indices) {
      const rows = 3 + index;
      const values = Array.from({ length: rows * 32 * 32 }, (_, i) => (i % 7) / 7);
      writeFileSync(
        join(volumes.data, 'shards', `${index}.npy`),
        encodeNpy({ type: 'f4', shape: [rows, 32, 32], values }),
      );
    }
    for (const index of score.indices) {
      const { code, stderr } = await elbo(score.arguments(index, volumes));
      expect(stderr).toContain(`${3 + index} scored`);
      expect(code).toBe(0);
      const lines = readFileSync(join(volumes.data, 'scores', `${index}.csv`), 'utf8')
        .trimEnd()
        .split('\n');
      expect(lines).toHaveLength(1 + 3 + index);
    }
  });

  test('sweep trains a model with other settings for each index, in a store of its own', async () => {
    const volumes = { data: temporaryDirectory() };
    const settings = [];
    for (const index of sweep.indices) {
      const { code, stdout } = await elbo([...sweep.arguments(index, volumes), ...SMALL]);
      expect(code).toBe(0);
      // What the page on Kubernetes picks the best run by.
      const line = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
      expect(line.metrics.validation_negative_elbo.value).toBeGreaterThan(0);
      expect(line.directory).toBe(join(volumes.data, 'sweeps', 'shapes', String(index), 'shapes', '1'));
      const { configuration } = (await readManifest(line.directory)).training;
      settings.push(JSON.stringify(configuration));
    }
    expect(new Set(settings).size).toBe(sweep.indices.length);
    expect(existsSync(join(volumes.data, 'sweeps', 'shapes', String(sweep.indices.length)))).toBe(false);
  });

  test('sweep has as many settings as indices', () => {
    const configMap = BUILDS.get('jobs/sweep')?.find(({ kind }) => kind === 'ConfigMap');
    expect(Object.keys(configMap?.data as object)).toEqual(sweep.indices.map((index) => `${index}.json`));
  });
});
