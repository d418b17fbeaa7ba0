import { request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureModel, GREY_INPUT, writeFixture } from './support/fixture-models.js';
import { greyPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const BODY_LIMIT = 1 << 20;
let store: FixtureStore;
let running: RunningService;
let pictures: Buffer[];

beforeAll(async () => {
  store = await fixtureStore();
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['a', 'b', 'c'] };
  await writeFixture(store.directory, fixtureModel({ name: 'labelled', input: GREY_INPUT, condition }));
  running = await startService(store.directory, { bodyLimit: BODY_LIMIT });
  pictures = await Promise.all(
    [0, 1, 2].map((n) =>
      greyPng(
        Uint8Array.from({ length: 64 }, (_, i) => (i * 7 + n * 40) % 256),
        8,
        8,
      ),
    ),
  );
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (path: string) => request(running.url).post(path);
const base64 = () => ({ inputs: pictures.map((picture) => picture.toString('base64')) });

describe('multipart/form-data', () => {
  it.each(['/encode', '/reconstruct', '/anomaly-score'])('gives %s image files in their order', async (path) => {
    const form = post(path);
    for (const [i, picture] of pictures.entries()) form.attach(i === 1 ? 'x' : 'file', picture, `../../etc/${i}.png`);
    const { status, text: answer } = await form;
    expect(status).toBe(200);
    expect(answer).toBe((await post(path).send(base64())).text);
  });

  it('takes a class of each file', async () => {
    const form = post('/encode?model=labelled');
    for (const [i, picture] of pictures.entries()) {
      form.field('labels', ['b', '0', 'c'][i] ?? '');
      form.attach('file', picture, 'x.png');
    }
    const { body } = await form;
    expect(body.labels).toEqual([1, 0, 2]);
    const json = await post('/encode?model=labelled').send({ ...base64(), labels: [1, 0, 2] });
    expect(body).toEqual(json.body);
    const inQuery = await post('/encode?model=labelled&label=b').attach('file', pictures[0] ?? '', 'x.png');
    expect(inQuery.body.mean[0]).toEqual(body.mean[0]);
    const wrong = await post('/encode?model=labelled')
      .field('labels', 'd')
      .attach('file', pictures[0] ?? '', 'x.png');
    expect(wrong.body).toMatchObject({ status: 400, detail: expect.stringContaining('labels[0] is the string "d"') });
  });

  it('refuses what it cannot use, by name', async () => {
    const [picture = Buffer.alloc(0)] = pictures;
    const cases: [request.Test, number, string, string][] = [
      [
        post('/encode').attach('a', picture, 'a.png').field('seed', '3'),
        422,
        'INVALID_INPUT',
        'form field "seed" is unknown',
      ],
      [post('/encode').field('labels', '1'), 422, 'INVALID_INPUT', 'the form has no file; expected one image at least'],
      [
        post('/encode').attach('a', picture, 'a.png').field('labels', 'x'.repeat(300)),
        422,
        'INVALID_INPUT',
        'form field labels has a value of more than 256 bytes',
      ],
      [
        post('/encode').attach('a', picture, 'a.png').attach('scan', Buffer.from('hello'), 'b.png'),
        422,
        'INVALID_IMAGE',
        'form field "scan" (file 1) is not a PNG, JPEG or WebP image',
      ],
      [
        post('/encode?model=table').attach('a', picture, 'a.png'),
        422,
        'INVALID_INPUT',
        'form field "a" (file 0) is an image; this model takes an array of 5 numbers',
      ],
      [
        post('/encode').attach('a', picture, 'a.png').field('labels', '1'),
        400,
        'INVALID_REQUEST',
        'body field labels is given; expected none',
      ],
      [post('/encode').attach('__proto__', picture, 'a.png'), 422, 'INVALID_INPUT', 'prototype property'],
      [
        post('/encode').set('content-type', 'multipart/form-data').send('hello'),
        422,
        'INVALID_INPUT',
        'the body is not multipart/form-data',
      ],
      [
        post('/encode').set('content-type', 'multipart/form-data; boundary=x').send('--x\r\nContent-Disp'),
        422,
        'INVALID_INPUT',
        'the body is not multipart/form-data',
      ],
      [post('/decode').attach('a', picture, 'a.png'), 415, 'UNSUPPORTED_MEDIA_TYPE', 'the body is multipart/form-data'],
    ];
    for (const [call, status, code, detail] of cases) {
      const { body } = await call;
      expect(body).toMatchObject({ status, code });
      expect(body.detail).toContain(detail);
      expect(body.detail).not.toMatch(/\.png|etc/);
    }
  });

  it('counts its files before it decodes them', async () => {
    const form = post('/encode');
    for (let i = 0; i < 257; i++) form.attach('file', Buffer.from('no image'), 'x.png');
    const { status, body } = await form;
    expect([status, body.code]).toEqual([413, 'TOO_MANY_ITEMS']);
  });

  it('has no more files than its limit, and no more bytes than a body', async () => {
    const part = '--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n\r\n';
    const many = await post('/encode')
      .set('content-type', 'multipart/form-data; boundary=x')
      .send(`${part.repeat(4097)}--x--\r\n`);
    expect(many.body).toMatchObject({
      code: 'TOO_MANY_ITEMS',
      detail: 'the form has more than the limit of 4096 files',
    });
    const large = await post('/encode').attach('file', Buffer.alloc(BODY_LIMIT + 1), 'x.png');
    expect(large.body).toMatchObject({ code: 'BODY_TOO_LARGE' });
    // Without a length, and each file within the limit.
    const { status, body } = await chunked([
      ...[0, 1, 2].flatMap(() => [
        '--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n',
        Buffer.alloc(BODY_LIMIT / 2),
        '\r\n',
      ]),
      '--x--\r\n',
    ]);
    expect(status).toBe(413);
    expect(body).toMatchObject({
      code: 'BODY_TOO_LARGE',
      detail: `the files have more than the limit of ${BODY_LIMIT} bytes`,
    });
  });

  it('that is damaged anywhere is answered with numbers or a problem of the caller', async () => {
    const [picture = Buffer.alloc(0)] = pictures;
    const whole = Buffer.concat([
      Buffer.from(
        '--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n',
      ),
      picture,
      Buffer.from('\r\n--x\r\nContent-Disposition: form-data; name="b"; filename="b.png"\r\n\r\n'),
      picture,
      Buffer.from('\r\n--x--\r\n'),
    ]);
    const damaged = fc
      .array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 })
      .map((changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat(whole.length - 1).map((length) => whole.subarray(0, length));
    await fc.assert(
      fc.asyncProperty(fc.oneof(damaged, cut, fc.uint8Array({ maxLength: 100 }).map(Buffer.from)), async (bytes) => {
        const { status, headers } = await post('/encode')
          .set('content-type', 'multipart/form-data; boundary=x')
          .send(bytes);
        expect([200, 400, 413, 422]).toContain(status);
        if (status !== 200) expect(headers['content-type']).toMatch(/^application\/problem\+json/);
      }),
      { numRuns: 60 },
    );
    expect((await post('/encode').set('content-type', 'multipart/form-data; boundary=x').send(whole)).status).toBe(200);
    expect(running.service.admitted).toBe(0);
  });
});

async function chunked(pieces: readonly (string | Buffer)[]): Promise<{ status: number | undefined; body: unknown }> {
  const call = httpRequest(`${running.url}/encode`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
  });
  const answered = new Promise<{ status: number | undefined; body: unknown }>((resolve, reject) => {
    call.once('error', reject);
    call.once('response', async (response) =>
      resolve({ status: response.statusCode, body: JSON.parse(await text(response)) }),
    );
  });
  for (const piece of pieces) call.write(piece);
  call.end();
  return answered;
}
