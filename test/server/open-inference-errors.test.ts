import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { maxQueue: 8, bodyLimit: 8192 });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (path: string, body: string | object, type = 'application/json') =>
  request(running.url).post(path).set('content-type', type).send(body);

const x = { name: 'x', shape: [1, 5], datatype: 'FP32', data: [0, 0, 0, 0, 0] };
const infer = '/v2/models/table/infer';

describe('an error under /v2', () => {
  it.each<[string, number, string, () => request.Test]>([
    [
      'an unknown model',
      404,
      'model "nope" is not loaded; loaded: ',
      () => request(running.url).get('/v2/models/nope'),
    ],
    [
      'an unknown graph',
      404,
      '"grey:coder" is no graph; expected one of grey:encoder, grey:decoder, grey:scorer',
      () => request(running.url).get('/v2/models/grey:coder/ready'),
    ],
    [
      'a graph of a graph',
      404,
      '"grey:encoder:encoder" is no graph',
      () => request(running.url).get('/v2/models/grey:encoder:encoder'),
    ],
    [
      'an unknown version',
      404,
      'version "7" of model grey is not loaded; loaded: 1, 2',
      () => post('/v2/models/grey:encoder/versions/7/infer', { inputs: [x] }),
    ],
    [
      'a key of prototypes',
      404,
      'model "__proto__" is not loaded',
      () => request(running.url).get('/v2/models/__proto__'),
    ],
    ['an unknown route', 404, 'there is no /v2/nothing', () => request(running.url).get('/v2/nothing')],
    ['another method', 405, 'has no DELETE; it has GET', () => request(running.url).delete('/v2/models/grey')],
    ['a bad escape', 400, '%zz', () => request(running.url).get('/v2/models/%zz')],
    ['no JSON', 400, 'the body is not JSON', () => post(infer, '{"inputs"')],
    ['no body', 400, 'the body is not JSON', () => post(infer, '')],
    ['a key of prototypes in JSON', 400, 'forbidden prototype property', () => post(infer, '{"__proto__":1}')],
    ['a bad tensor', 400, 'inputs[0].shape is [1, 5]', () => post('/v2/models/grey/infer', { inputs: [x] })],
    [
      'a number out of range',
      400,
      'x[0][0] is 11; expected -10 to 10',
      () => post(infer, { inputs: [{ ...x, data: [11, 0, 0, 0, 0] }] }),
    ],
    [
      'a form',
      415,
      'the body is application/x-www-form-urlencoded',
      () => post(infer, 'a=1', 'application/x-www-form-urlencoded'),
    ],
    ['a body beyond the limit', 413, 'more than the limit of 8192 bytes', () => post(infer, { pad: 'a'.repeat(9000) })],
    [
      'rows beyond the limit',
      413,
      '9 items in one request; this server takes 8 at most',
      () => post(infer, { inputs: [{ ...x, shape: [9, 5], data: Array(45).fill(0) }] }),
    ],
    [
      'a length of no kind',
      400,
      'inference-header-content-length is the string "a"',
      () => post(infer, { inputs: [x] }).set('inference-header-content-length', 'a'),
    ],
  ])('%s is told in the form of the protocol', async (_name, status, message, call) => {
    const answer = await call();
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(Object.keys(answer.body)).toEqual(['error']);
    expect(answer.body.error).toContain(message);
  });

  it('leaves other routes as they are', async () => {
    const { headers, body } = await request(running.url).get('/v20');
    expect(headers['content-type']).toContain('application/problem+json');
    expect(body.code).toBe('ROUTE_NOT_FOUND');
  });
});
