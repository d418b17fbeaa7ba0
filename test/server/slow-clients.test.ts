import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const TIMEOUTS = { headers: 400, request: 800, keepAlive: 300, idle: 5000, check: 50 };
let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { workers: 1, app: { timeouts: TIMEOUTS, maxConnections: 3 } });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

function open(): Socket {
  const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
  socket.on('error', () => {});
  return socket;
}

/** Sends one byte after another, as long as the connection is there. */
function drip(socket: Socket, bytes: string): () => void {
  let sent = 0;
  const timer = setInterval(() => {
    if (socket.writable) socket.write(bytes[sent++ % bytes.length] ?? '');
  }, 30);
  return () => clearInterval(timer);
}

describe('a client that sends slowly', () => {
  it.each([
    ['headers', 'GET /models HTTP/1.1\r\nHost: a\r\nX-Slow: '],
    ['a body', 'POST /encode HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n'],
  ])('its %s is told so and cut off', async (_name, head) => {
    const socket = open();
    socket.write(head);
    const stop = drip(socket, 'a');
    const answer = await text(socket);
    stop();
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({
      code: 'REQUEST_TIMEOUT',
      detail: expect.stringContaining('0.4 seconds for its headers, 0.8 seconds for all of it'),
    });
    const { text: metrics } = await request(running.url).get('/metrics');
    expect(metrics).toMatch(/elbo_rejections_total\{reason="request_timeout"\} [12]/);
  });
});

describe('connections', () => {
  it('that send nothing more are closed', async () => {
    const socket = open();
    socket.write('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n');
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('beyond the limit are closed at once, and taken again when others are gone', async () => {
    const sockets = [open(), open(), open()];
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const fourth = open();
    await once(fourth, 'close');
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(async () => {
      expect((await request(running.url).get('/health/live')).status).toBe(200);
    });
  });
});
