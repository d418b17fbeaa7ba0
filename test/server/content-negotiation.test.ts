import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

describe('accept', () => {
  it.each([
    [undefined, 'application/json; charset=utf-8'],
    ['*/*', 'application/json; charset=utf-8'],
    ['application/json', 'application/json; charset=utf-8'],
    ['image/*', 'image/png'],
    ['image/png;q=0.5, application/octet-stream', 'application/octet-stream'],
    ['text/html, image/png;q=0.1', 'image/png'],
    ['application/json;q=0, */*', 'image/png'],
  ])('%s gives %s', async (accept, type) => {
    const sample = request(running.url).post('/sample?count=1');
    const { headers, status } = await (accept === undefined ? sample : sample.set('accept', accept));
    expect(status).toBe(200);
    expect(headers['content-type']).toBe(type);
  });

  it.each([
    ['/sample', 'text/html', 'application/json, image/png, application/octet-stream'],
    ['/sample?model=table', 'image/png', 'application/json, application/octet-stream'],
  ])('%s as %s cannot be had, and the answer says what can', async (path, accept, possible) => {
    const { status, body } = await request(running.url).post(path).set('accept', accept);
    expect(status).toBe(406);
    expect(body).toMatchObject({ code: 'NOT_ACCEPTABLE' });
    expect(body.detail).toContain(possible);
  });

  it('is settled before the body is looked at', async () => {
    const { body } = await request(running.url)
      .post('/encode')
      .set('accept', 'image/png')
      .send({ inputs: ['?'] });
    expect(body.code).toBe('NOT_ACCEPTABLE');
  });
});

describe('content-type', () => {
  it.each([
    ['/encode', 'text/plain', 'the body is text/plain'],
    ['/encode', 'image/gif', 'the body is image/gif'],
    ['/encode', 'application/x-www-form-urlencoded', 'the body is application/x-www-form-urlencoded'],
    ['/decode', 'image/png', 'the body is image/png'],
    ['/sample', 'application/octet-stream', 'the body is application/octet-stream'],
  ])('of %s cannot be %s', async (path, type, detail) => {
    const { status, body, headers } = await request(running.url)
      .post(path)
      .set('content-type', type)
      .send(Buffer.from('abc'));
    expect(status).toBe(415);
    expect(body.code).toBe('UNSUPPORTED_MEDIA_TYPE');
    expect(body.detail).toContain(`${detail}; expected one of application/json`);
    expect(headers.accept).toContain('application/json');
  });

  it('is missed where a body is needed', async () => {
    const { status, body } = await request(running.url).post('/encode');
    expect(status).toBe(415);
    expect(body.detail).toContain('the request has no content-type; expected one of application/json, image/png');
  });
});
