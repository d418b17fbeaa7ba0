import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CodecError } from '../codecs/errors.js';
import { type Line, LineReader } from '../codecs/line-reader.js';
import { valueOfLine } from '../codecs/lines.js';
import type { Cancellation } from '../inference/cancellation.js';
import { InferenceError } from '../inference/errors.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError, problemErrorOf, problemOf } from '../problems.js';
import { takeItems } from './admission.js';
import { named } from './inference-reply.js';
import { clientGone, LINES_TYPE, outputTypes } from './inference-request.js';
import { labelledItemReader } from './request-labels.js';

/** Items that run at once, and count as waiting for as long as the stream lasts. */
const ITEMS_AT_ONCE = 64;

const LINE_TIMEOUT_MS = 60_000;

/** Time that a client has to see that its stream was given up, before the connection ends under what it still sends. */
const LINGER_MS = 1000;

/** How a stream of items is answered. */
export interface LineAnswers {
  /** Numbers of one item. */
  readonly size: number;
  /** What an item is called in a line that has its class, too. */
  readonly key: 'input' | 'latent';
  /**
   * Writes the item that a line's value is.
   * @throws {CodecError} naming `field`
   */
  readonly decode: (value: unknown, field: string, target: Float32Array) => Promise<void> | void;
  /**
   * Answers some items in their order.
   * @param items N x size, whose memory may be taken
   */
  readonly answer: (
    items: Float32Array,
    options: { readonly labels: readonly number[] | undefined; readonly cancellation: Cancellation },
  ) => Promise<Iterable<string>>;
}

const linesType = outputTypes(LINES_TYPE);

const streaming = new WeakSet<Socket>();

/** Whether a connection's request is a stream, which may take longer to arrive than others. */
export function isStreaming(socket: Socket): boolean {
  return streaming.has(socket);
}

/** Whether a body is lines to be read while they are answered. */
export function hasLines(request: FastifyRequest): boolean {
  return contentTypeOf(request) === LINES_TYPE;
}

/**
 * Answers a body of lines, each one item, with a line an item, in order and as they come: memory does not grow with the
 * body, and what the client doesn't read of the answer is not read of the body. Items are run as many at once as have
 * arrived, up to 64, which are admitted for the whole stream before anything is read. What is wrong with the first line is
 * answered as ever; what is wrong later becomes the last line, `{"error": problem}`, after all lines before it.
 * @throws {InferenceError} OVERLOADED
 * @throws {CodecError} for the first line
 */
export async function answerLines(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  model: ServedModel,
  answers: LineAnswers,
): Promise<FastifyReply> {
  const cancellation = clientGone(reply);
  linesType(request);
  const labelledItem = labelledItemReader(request, model, answers.key);
  const { raw } = request;
  const { bodyLimit = 0 } = app.initialConfig;
  return admitMost(app, ITEMS_AT_ONCE, async (itemsAtOnce) => {
    streaming.add(raw.socket);
    const reader = new LineReader(request.body as Readable, {
      lines: itemsAtOnce,
      bytes: bodyLimit,
      milliseconds: LINE_TIMEOUT_MS,
    });
    try {
      const pieces = answered(reader);
      const first = await pieces.next();
      if (first.done === true) {
        throw new CodecError('INVALID_INPUT', 'the body has no line; expected one item a line');
      }
      const lines = Readable.from(withProblem(first.value, pieces), { objectMode: false });
      named(reply, model, LINES_TYPE).send(lines);
      // Fails where the client goes away, for whom nothing is left to do.
      await finished(reply.raw).catch(() => {});
      return reply;
    } finally {
      reader.stop();
      streaming.delete(raw.socket);
      // Whoever read the lines lets go of the body at its next piece, and until then `resume` alone does nothing.
      raw.on('data', () => {}).resume();
      setTimeout(() => {
        if (!raw.complete) raw.destroy();
      }, LINGER_MS).unref();
    }
  });

  /** The answers, in pieces of some lines. */
  async function* answered(reader: LineReader): AsyncGenerator<string> {
    for (;;) {
      const lines = await reader.next().catch((error: Error) => {
        // It is no failure of ours that the rest of a body doesn't come.
        throw cancellation.cancelled ? new InferenceError('CANCELLED', 'the client is gone') : error;
      });
      if (lines.length === 0) return;
      const items = new Float32Array(lines.length * answers.size);
      const labels: number[] = [];
      let count = 0;
      let failure: unknown;
      try {
        for (const line of lines) {
          const field = `line ${line.number}`;
          const target = items.subarray(count * answers.size, (count + 1) * answers.size);
          const { item, label } = labelledItem(valueOfLine(line.text, field), field);
          await answers.decode(item, field, target);
          takeItems(request, 1);
          if (label !== undefined) labels.push(label);
          count++;
        }
      } catch (error) {
        failure = error;
      }
      const ofModel = model.manifest.condition === undefined ? undefined : labels;
      yield* run(lines.slice(0, count), items.subarray(0, count * answers.size), ofModel);
      if (failure !== undefined) throw failure;
    }
  }

  async function* run(
    lines: readonly Line[],
    items: Float32Array,
    labels: readonly number[] | undefined,
  ): AsyncGenerator<string> {
    const [first] = lines;
    if (first === undefined) return;
    let piece: Iterable<string>;
    try {
      piece = await answers.answer(items.slice(), { labels, cancellation });
    } catch (error) {
      if (!(error instanceof InferenceError && error.code === 'OUTPUT_NOT_FINITE')) throw error;
      if (lines.length === 1) throw new ProblemError('OUTPUT_NOT_FINITE', `line ${first.number}: ${error.message}`);
      // One by one, so that all before the line at fault are answered.
      const { size } = answers;
      for (const [i, line] of lines.entries()) {
        yield* run([line], items.subarray(i * size, (i + 1) * size), labels?.slice(i, i + 1));
      }
      return;
    }
    yield [...piece].join('');
  }

  async function* withProblem(first: string, pieces: AsyncGenerator<string>): AsyncGenerator<string> {
    yield first;
    try {
      yield* pieces;
    } catch (error) {
      const problem = problemErrorOf(error as Error, bodyLimit);
      if (problem.code === 'INTERNAL') request.log.error(error);
      yield `${JSON.stringify({ error: problemOf(problem.code, problem.message) })}\n`;
    }
  }
}

/** Admits as many items as the queue will ever take, up to `most`. */
async function admitMost<T>(app: FastifyInstance, most: number, work: (items: number) => Promise<T>): Promise<T> {
  for (let items = most; ; items = Math.floor(items / 2)) {
    let begun = false;
    try {
      return await app.service.admit(items, () => {
        begun = true;
        return work(items);
      });
    } catch (error) {
      const neverFits = error instanceof InferenceError && error.code === 'TOO_MANY_ITEMS' && !begun;
      if (!neverFits || items === 1) throw error;
    }
  }
}
