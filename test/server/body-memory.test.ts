import { on, once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { BodyMemory, memoryLimit } from '@elbo/server/body-memory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const MIB = 2 ** 20;

describe('the memory for bodies', () => {
  it('is half of what the process has not taken at rest', () => {
    expect(new BodyMemory(256 * MIB, 156 * MIB).capacity).toBe(50 * MIB);
    expect(new BodyMemory(100, 200).capacity).toBe(0);
  });

  it('is a container’s limit where it has one', () => {
    expect(memoryLimit(256 * MIB, 1024 * MIB)).toBe(256 * MIB);
    expect(memoryLimit(0, 1024 * MIB)).toBe(1024 * MIB);
    // What control groups of version 1 say where there is none.
    expect(memoryLimit(2 ** 63, 1024 * MIB)).toBe(1024 * MIB);
  });

  it('holds eight times a body of JSON and four times another, and no more at once than there is', () => {
    const memory = new BodyMemory(16_000, 0);
    expect(memory.largest('application/json')).toBe(1000);
    expect(memory.largest('image/png')).toBe(2000);
    const first = memory.reserve('application/json');
    first.grow(600);
    const second = memory.reserve('application/json');
    second.grow(400);
    expect(() => first.grow(1)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    second.release();
    first.grow(400);
    expect(() => first.grow(1)).toThrow(expect.objectContaining({ code: 'BODY_TOO_LARGE' }));
    first.release();
    first.release();
    memory.reserve('application/octet-stream').grow(2000);
  });
});

describe('bodies beyond the memory', () => {
  const LARGEST = 100_000;
  const memory = new BodyMemory(LARGEST * 8 * 2, 0);
  let store: FixtureStore;
  let service: RunningService;
  beforeAll(async () => {
    store = await fixtureStore();
    service = await startService(store.directory, { app: { memory }, maxQueue: 100_000 });
  });
  afterAll(async () => {
    await service.close();
    await store.remove();
  });

  const item = `[${Array.from({ length: 64 }, () => '0.25').join(',')}]`;
  const bodyOf = (bytes: number): string =>
    `{"inputs":[${Array(Math.ceil(bytes / (item.length + 1)))
      .fill(item)
      .join(',')}]}`;
  const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${service.url}/encode?model=grey`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : new Uint8Array(body),
    });
  /** Sends a body in pieces, whose size nobody tells. */
  const postChunked = async (body: string): Promise<{ status: number; answer: string }> => {
    const sent = httpRequest(`${service.url}/encode?model=grey`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    sent.on('error', () => {});
    const response = once(sent, 'response');
    for (let at = 0; at < body.length; at += 10_000) sent.write(body.slice(at, at + 10_000));
    sent.end();
    const [message] = await response;
    return { status: message.statusCode, answer: await text(message) };
  };

  it('are 413, with what there is memory for', async () => {
    const answer = await post(bodyOf(LARGEST + 1000));
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({
      code: 'BODY_TOO_LARGE',
      detail: expect.stringContaining(`expected ${LARGEST} at most of application/json`),
    });
  });

  it('are 413 where they become too large by their coding, or come in pieces', async () => {
    const zipped = gzipSync(bodyOf(LARGEST + 1000));
    expect(zipped.length).toBeLessThan(10_000);
    expect((await post(zipped, { 'content-encoding': 'gzip' })).status).toBe(413);
    const { status, answer } = await postChunked(bodyOf(LARGEST + 50_000));
    expect(status).toBe(413);
    expect(JSON.parse(answer)).toMatchObject({ code: 'BODY_TOO_LARGE' });
  });

  it('are answered below it, whole, compressed or in pieces, and again and again', async () => {
    const body = bodyOf(LARGEST - 1000);
    for (let i = 0; i < 5; i++) {
      expect((await post(body)).status).toBe(200);
      expect((await post(gzipSync(body), { 'content-encoding': 'gzip' })).status).toBe(200);
      expect((await postChunked(body)).status).toBe(200);
    }
  });

  it('are 503 while others take the memory, and small ones are answered', async () => {
    const reservation = memory.reserve('application/json');
    reservation.grow(LARGEST - 10_000);
    try {
      const answer = await post(bodyOf(60_000));
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).not.toBeNull();
      expect(await answer.json()).toMatchObject({ code: 'OVERLOADED' });
      expect((await postChunked(bodyOf(60_000))).status).toBe(503);
      expect((await post(bodyOf(1000))).status).toBe(200);
    } finally {
      reservation.release();
    }
    expect((await post(bodyOf(60_000))).status).toBe(200);
  });

  it('that are announced and not sent keep nobody out', async () => {
    const seen = on(service.app.server, 'request');
    const slow = Array.from({ length: 5 }, () => {
      const headers = { 'content-type': 'application/json', 'content-length': LARGEST - 1000 };
      const sent = httpRequest(`${service.url}/encode?model=grey`, { method: 'POST', headers });
      sent.on('error', () => {});
      sent.write('{"inputs":');
      return sent;
    });
    for (const _ of slow) await seen.next();
    try {
      expect((await post(bodyOf(LARGEST - 1000))).status).toBe(200);
    } finally {
      for (const sent of slow) sent.destroy();
    }
  });

  it('in forms that come in pieces are counted, too', async () => {
    const form = new FormData();
    form.append('a', new Blob([Buffer.alloc(LARGEST * 5)]), 'a.png');
    const whole = new Response(form);
    const body = Buffer.from(await whole.arrayBuffer());
    const sent = httpRequest(`${service.url}/encode?model=grey`, {
      method: 'POST',
      headers: { 'content-type': whole.headers.get('content-type') ?? '' },
    });
    sent.on('error', () => {});
    const response = once(sent, 'response');
    for (let at = 0; at < body.length; at += 10_000) sent.write(body.subarray(at, at + 10_000));
    sent.end();
    const [message] = await response;
    expect(message.statusCode).toBe(413);
    expect(JSON.parse(await text(message))).toMatchObject({ code: 'BODY_TOO_LARGE' });
  });
});
