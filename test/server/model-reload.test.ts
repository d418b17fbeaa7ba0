import { cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addReference, GRAPH_FILES, type Reference } from '@elbo/models';
import { WorkerThread } from '@elbo/server/inference/worker-thread';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { expectedMean, type FixtureModel, fixtureModel, GREY_INPUT, writeFixture } from './support/fixture-models.js';
import { type RunningService, startService } from './support/running-service.js';

const ITEM = Array(64).fill(0.25);

let directory: string;
let running: RunningService;
const grey = (seed: number): FixtureModel => fixtureModel({ name: 'grey', input: GREY_INPUT, seed });
const other = fixtureModel({ name: 'other', input: GREY_INPUT, seed: 9 });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elbo-store-'));
  await writeFixture(directory, grey(1));
  await writeFixture(directory, other);
  running = await startService(directory);
});
afterEach(async () => {
  await running.close();
  await rm(directory, { recursive: true, force: true });
});

/** The first number of the mean that the service gives for the item. */
async function mean(query = ''): Promise<{ version: string; mean: number }> {
  const answer = await fetch(`${running.url}/encode?model=grey${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs: [ITEM] }),
  });
  const body = (await answer.json()) as { version: string; mean: number[][] };
  if (answer.status !== 200) throw new Error(JSON.stringify(body));
  return { version: body.version, mean: body.mean[0]?.[0] ?? Number.NaN };
}

const of = (model: FixtureModel) => expect.closeTo(expectedMean(model, ITEM)[0] ?? Number.NaN, 5);

/** Puts other content in place of version 1, as an operator does with `mv`. */
async function replaceVersion(model: FixtureModel): Promise<void> {
  const elsewhere = await mkdtemp(join(tmpdir(), 'elbo-store-'));
  await writeFixture(elsewhere, model);
  await rename(join(directory, 'grey', '1'), join(elsewhere, 'old'));
  await cp(join(elsewhere, 'grey', '1'), join(directory, 'grey', '1'), { recursive: true });
  await rm(elsewhere, { recursive: true });
}

describe('a store that changes', () => {
  it('while the service stops has no thread left that is loading', async () => {
    const stopping = await startService(directory);
    const threads = vi.spyOn(WorkerThread, 'start');
    try {
      await writeFixture(directory, grey(2));
      let hasEnded = false;
      void stopping.service.registry.refresh().then(() => {
        hasEnded = true;
      });
      await vi.waitFor(() => expect(threads).toHaveBeenCalled());
      await stopping.close();
      expect(hasEnded).toBe(true);
      for (const { value } of threads.mock.results) await (await value).lost;
    } finally {
      threads.mockRestore();
    }
  });

  it('is followed: a new version answers, the old one stays addressable, a removed one is unloaded', async () => {
    await writeFixture(directory, grey(2));
    const { loaded } = await running.service.registry.refresh();
    expect(loaded.map(({ key }) => key)).toEqual(['grey/2']);
    expect(await mean()).toEqual({ version: '2', mean: of(grey(2)) });
    expect(await mean('&version=1')).toEqual({ version: '1', mean: of(grey(1)) });
    await rm(join(directory, 'grey', '2'), { recursive: true });
    const { unloaded } = await running.service.registry.refresh();
    expect(unloaded.map(({ key }) => key)).toEqual(['grey/2']);
    expect(await mean()).toEqual({ version: '1', mean: of(grey(1)) });
  });

  it('is looked at without being asked', async () => {
    await running.close();
    running = await startService(directory, { storePollInterval: 10 });
    await writeFixture(directory, grey(2));
    await vi.waitFor(async () => expect((await mean()).version).toBe('2'), 10_000);
  });

  it('costs no worker while it stays as it is', async () => {
    const before = running.workers.length;
    expect(await running.service.registry.refresh()).toEqual({ loaded: [], unloaded: [], refused: [] });
    expect(running.workers).toHaveLength(before);
  });

  it('may hold other content under the same version', async () => {
    await replaceVersion(grey(5));
    await running.service.registry.refresh();
    expect(await mean()).toEqual({ version: '1', mean: of(grey(5)) });
  });

  it('may add reference data to a version that serves', async () => {
    const reference: Reference = {
      count: 1,
      codes: { file: 'reference-codes.u8', minimum: [0, 0, 0, 0], maximum: [1, 1, 1, 1] },
      principal_components: {
        mean: [0, 0, 0, 0],
        axes: [
          [1, 0, 0, 0],
          [0, 1, 0, 0],
        ],
        explained: [0, 0],
      },
    };
    const codes = `${running.url}/models/grey/files/reference-codes.u8`;
    const version = join(directory, 'grey', '1');
    const content = Uint8Array.of(1, 2, 3, 4);
    // As if the program had been stopped before the manifest was written: not an addition yet.
    await writeFile(join(version, 'reference-codes.u8'), content);
    expect(await running.service.registry.refresh()).toEqual({ loaded: [], unloaded: [], refused: [] });
    expect((await fetch(codes)).status).toBe(404);
    await addReference(version, reference, new Map([['reference-codes.u8', content]]));
    const { loaded } = await running.service.registry.refresh();
    expect(loaded.map(({ key }) => key)).toEqual(['grey/1']);
    expect(new Uint8Array(await (await fetch(codes)).arrayBuffer())).toEqual(content);
    expect(await mean()).toEqual({ version: '1', mean: of(grey(1)) });
  });

  it('that cannot be listed changes nothing', async () => {
    await rename(directory, `${directory}-away`);
    await running.service.registry.refresh();
    await running.service.registry.refresh();
    expect(await mean()).toEqual({ version: '1', mean: of(grey(1)) });
    const complaints = () => running.log.filter((line) => line.includes(directory) && !line.startsWith('loaded'));
    expect(complaints()).toHaveLength(1);
    await rename(`${directory}-away`, directory);
    await running.service.registry.refresh();
    await rename(directory, `${directory}-away`);
    await running.service.registry.refresh();
    expect(complaints()).toHaveLength(2);
    await rename(`${directory}-away`, directory);
  });
});

describe('a bad version', () => {
  /** What may stand in the store in place of a good version. */
  const BAD: Record<string, (directory: string) => Promise<unknown>> = {
    'that is half written': (version) => rm(join(version, GRAPH_FILES.scorer)),
    'whose graph is another': (version) =>
      cp(join(directory, 'other', '1', GRAPH_FILES.encoder), join(version, GRAPH_FILES.encoder)),
    'whose manifest is cut off': (version) => writeFile(join(version, 'manifest.json'), '{"name":'),
  };

  for (const [what, spoil] of Object.entries(BAD)) {
    it(`${what} is refused, and what it would replace goes on`, async () => {
      await spoil(join(directory, 'grey', '1'));
      const { refused } = await running.service.registry.refresh();
      expect(refused.map(({ key }) => key)).toEqual(['grey/1']);
      expect(await mean()).toEqual({ version: '1', mean: of(grey(1)) });
      await running.service.registry.refresh();
      expect(running.log.filter((line) => line.startsWith('refused grey/1'))).toHaveLength(1);
    });
  }

  it('whose graphs do not keep to the manifest is refused by a worker that serves nobody', async () => {
    const graphs = fixtureModel({ name: 'grey', input: GREY_INPUT, latentSize: 5 });
    await writeFixture(directory, { ...graphs, draft: grey(2).draft });
    const { refused, loaded } = await running.service.registry.refresh();
    expect(loaded).toEqual([]);
    expect(refused[0]?.reason).toContain('encoder.onnx: output mean');
    expect(await mean()).toEqual({ version: '1', mean: of(grey(1)) });
    await expect(mean('&version=2')).rejects.toThrow('MODEL_NOT_FOUND');
  });

  it('is looked at again once its files have changed', async () => {
    const version = await writeFixture(directory, grey(2));
    await rename(join(version, GRAPH_FILES.decoder), join(directory, 'decoder'));
    expect((await running.service.registry.refresh()).refused).toHaveLength(1);
    await rename(join(directory, 'decoder'), join(version, GRAPH_FILES.decoder));
    expect((await running.service.registry.refresh()).loaded).toHaveLength(1);
    expect((await mean()).version).toBe('2');
  });
});

describe('a change of models', () => {
  it('fails and falsifies nothing that is under way', async () => {
    const models = [1, 2, 3].map(grey);
    let stop = false;
    const answers: { version: string; mean: number }[] = [];
    const client = async (): Promise<void> => {
      while (!stop) answers.push(await mean());
    };
    const clients = Promise.all(Array.from({ length: 4 }, client));
    try {
      for (const model of models.slice(1)) {
        await writeFixture(directory, model);
        await running.service.registry.refresh();
      }
    } finally {
      stop = true;
      await clients;
    }
    for (const { version, mean: value } of answers) {
      expect(value).toEqual(of(models[Number(version) - 1] ?? grey(0)));
    }
    expect(new Set(answers.map(({ version }) => version)).size).toBeGreaterThan(1);
  });

  it('keeps a version that is gone for those who hold it already', async () => {
    const { service } = running;
    const old = service.registry.get('grey');
    let go: () => void = () => {};
    const encoding = service.admit(1, async () => {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      return service.encode(old, Float32Array.from(ITEM));
    });
    await replaceVersion(grey(5));
    await service.registry.refresh();
    expect(await mean()).toEqual({ version: '1', mean: of(grey(5)) });
    go();
    expect((await encoding).mean[0]).toEqual(of(grey(1)));
  });

  it('ends the workers that held what is gone', async () => {
    const ended = running.workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
    await replaceVersion(grey(5));
    await running.service.registry.refresh();
    await Promise.all(ended);
    expect(running.workers).toHaveLength(4);
    expect(running.service.status).toMatchObject({ workersAlive: 2, notReady: undefined });
  });

  it('unloads a model until it is loaded again', async () => {
    const { registry } = running.service;
    await registry.unload('grey');
    await registry.refresh();
    await expect(mean()).rejects.toThrow('MODEL_NOT_FOUND');
    await registry.load('grey');
    expect((await mean()).version).toBe('1');
    await expect(registry.load('absent')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    await expect(registry.unload('absent')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  });
});
