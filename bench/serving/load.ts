import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { AnswerReader, type HttpAnswer } from './answer-reader.js';

// The load generator shares the cores with the server, so it does as little as it can: the bytes of a request are made
// once, and of an answer its status and length are read.

export interface HttpRequest {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface LoadPlan {
  readonly connections: number;
  readonly seconds: number;
  /** Before anything is counted; longer, up to five times, until programs that compile as they run have run enough. */
  readonly warmUpSeconds: number;
  /** Requests a second over all connections; unset: each connection sends the next request when it has its answer. */
  readonly rate?: number;
  /** Called when counting begins and when it has ended. */
  readonly onStart?: () => void;
  readonly onEnd?: () => void;
}

const WARM_UP_REQUESTS = 2000;
const MOST_WARM_UPS = 5;

export interface LoadResult {
  readonly answered: number;
  /** Requests with another status than 200, or with none. */
  readonly failed: number;
  readonly seconds: number;
  /** Milliseconds, ascending. Under a rate they count from when a request was due, not from when it could be sent. */
  readonly latencies: Float64Array;
  /** Of this process. */
  readonly clientCpuSeconds: number;
}

/** Sends one request over and over, and counts. */
export async function load(origin: string, request: HttpRequest, plan: LoadPlan): Promise<LoadResult> {
  const latencies: number[] = [];
  let failed = 0;
  let warm = 0;
  let counting = false;
  let over = false;
  const paced = plan.rate === undefined ? undefined : new Pacer(plan.rate);
  const idle: Connection[] = [];

  const next = (connection: Connection): void => {
    if (over) return;
    const due = paced === undefined ? performance.now() : paced.take();
    if (due === undefined) idle.push(connection);
    else connection.send(due);
  };
  const done = (connection: Connection, status: number | undefined, since: number): void => {
    if (counting) {
      if (status === 200) latencies.push(performance.now() - since);
      else failed++;
    } else {
      warm++;
    }
    next(connection);
  };
  const bytes = requestBytes(origin, request);
  const connections = await Promise.all(
    Array.from({ length: plan.connections }, () => Connection.open(origin, bytes, done)),
  );
  const timer =
    paced &&
    setInterval(() => {
      for (let connection = idle.shift(); connection !== undefined; connection = idle.shift()) {
        const due = paced.take();
        if (due === undefined) {
          idle.unshift(connection);
          return;
        }
        connection.send(due);
      }
    }, 1);
  for (const connection of connections) next(connection);
  try {
    for (let i = 0; i < MOST_WARM_UPS && (i === 0 || warm < WARM_UP_REQUESTS); i++) {
      await delay(plan.warmUpSeconds * 1000);
    }
    plan.onStart?.();
    const cpuBefore = process.cpuUsage();
    const start = performance.now();
    counting = true;
    await delay(plan.seconds * 1000);
    counting = false;
    const seconds = (performance.now() - start) / 1000;
    const cpu = process.cpuUsage(cpuBefore);
    plan.onEnd?.();
    return {
      answered: latencies.length,
      failed,
      seconds,
      latencies: Float64Array.from(latencies).sort(),
      clientCpuSeconds: (cpu.user + cpu.system) / 1e6,
    };
  } finally {
    over = true;
    clearInterval(timer);
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

/** One request, for a look at its answer. */
export async function ask(origin: string, request: HttpRequest): Promise<HttpAnswer> {
  const { hostname, port } = new URL(origin);
  const socket = connect(Number(port), hostname);
  const reader = new AnswerReader();
  try {
    socket.write(requestBytes(origin, request));
    for await (const data of socket) {
      const answer = reader.feed(data as Buffer);
      if (answer !== undefined) return answer;
    }
    throw new Error('the connection was closed without an answer');
  } finally {
    socket.destroy();
  }
}

function requestBytes(origin: string, { method = 'POST', path, headers, body }: HttpRequest): Buffer {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `host: ${new URL(origin).host}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

/** Says when requests of a fixed rate are due. */
class Pacer {
  readonly #interval: number;
  #due = performance.now();

  constructor(rate: number) {
    this.#interval = 1000 / rate;
  }

  /** When the next request was due, if it is by now. */
  take(): number | undefined {
    if (this.#due > performance.now()) return undefined;
    const due = this.#due;
    this.#due += this.#interval;
    return due;
  }
}

/** `status` is undefined where the connection was closed; `since` is when the request was due. */
type OnDone = (connection: Connection, status: number | undefined, since: number) => void;

class Connection {
  readonly #origin: string;
  readonly #bytes: Buffer;
  readonly #onDone: OnDone;
  #socket: Socket | undefined;
  #reader = new AnswerReader();
  /** Of the request that waits for its answer. */
  #since: number | undefined;
  #closed = false;

  private constructor(origin: string, bytes: Buffer, onDone: OnDone) {
    this.#origin = origin;
    this.#bytes = bytes;
    this.#onDone = onDone;
  }

  static async open(origin: string, bytes: Buffer, onDone: OnDone): Promise<Connection> {
    const connection = new Connection(origin, bytes, onDone);
    await once(connection.#connect(), 'connect');
    return connection;
  }

  /** @param since when the request was due */
  send(since: number): void {
    this.#since = since;
    const socket = this.#socket ?? this.#connect();
    socket.write(this.#bytes);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const socket = this.#socket;
    if (socket === undefined) return;
    const closed = once(socket, 'close');
    socket.destroy();
    await closed;
  }

  #connect(): Socket {
    const { hostname, port } = new URL(this.#origin);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket = socket;
    this.#reader = new AnswerReader();
    socket.on('data', (data) => {
      const answer = this.#reader.feed(data);
      if (answer !== undefined) this.#finish(answer.status);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      // A server may close a connection that idles; the next request opens another.
      this.#socket = undefined;
      if (!this.#closed) this.#finish(undefined);
    });
    return socket;
  }

  #finish(status: number | undefined): void {
    const since = this.#since;
    this.#since = undefined;
    if (since !== undefined) this.#onDone(this, status, since);
  }
}
