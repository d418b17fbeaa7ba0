import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import type { ServedModel } from '../inference/model.js';
import { RunTimes } from '../inference/run-times.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request was about and how long its stages took. */
    times: RequestTimes;
  }
}

/** Stages of a request that runs a model, in the order in which they happen. */
export const STAGES = ['decode', 'queue', 'inference', 'encode'] as const;
export type Stage = (typeof STAGES)[number];

/** What a request was about and how long its stages took, in milliseconds. */
export class RequestTimes {
  /** For the scheduler, which adds the time of each run. */
  readonly run = new RunTimes();
  /** From bytes to numbers, parsing included. */
  decode = 0;
  /** From numbers to bytes. */
  encode = 0;
  /** Of the monotonic clock; 0 before. */
  decodeStart = 0;
  encodeStart = 0;
  model: ServedModel | undefined;
  items = 0;

  /** What the request is about. */
  concerns(model: ServedModel, items: number): void {
    this.model = model;
    this.items = items;
  }

  of(stage: Stage): number {
    switch (stage) {
      case 'decode':
        return this.decode;
      case 'queue':
        return this.run.queue;
      case 'inference':
        return this.run.inference;
      case 'encode':
        return this.encode;
    }
  }

  /** Does a part of a stage and counts its time. */
  during<T>(stage: 'decode' | 'encode', work: () => T): T {
    const start = performance.now();
    if (stage === 'decode') this.decodeStart ||= start;
    else this.encodeStart ||= start;
    const result = work();
    if (!(result instanceof Promise)) {
      this[stage] += performance.now() - start;
      return result;
    }
    return result.finally(() => {
      this[stage] += performance.now() - start;
    }) as T;
  }

  /** @see https://www.w3.org/TR/server-timing/ */
  get header(): string {
    const { decode, run, encode } = this;
    return `decode;dur=${hundredths(decode)}, queue;dur=${hundredths(run.queue)}, inference;dur=${hundredths(run.inference)}, encode;dur=${hundredths(encode)}`;
  }
}

/** With two decimals. */
function hundredths(value: number): string {
  const whole = Math.round(value * 100);
  const fraction = whole % 100;
  return `${Math.floor(whole / 100)}.${fraction < 10 ? '0' : ''}${fraction}`;
}

/** Gives every request its `times`, and every answer of a model's a `server-timing` header. */
export const requestTimes = fp(async (app: FastifyInstance) => {
  app.decorateRequest('times');
  app.addHook('onRequest', (request: FastifyRequest, reply, done) => {
    request.times = new RequestTimes();
    reply.header('x-request-id', request.id);
    done();
  });
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (request.times.model !== undefined) reply.header('server-timing', request.times.header);
    done();
  });
});
