import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import autocannon from 'autocannon';
import { max, quantileSorted } from 'simple-statistics';

// How fast /encode answers 64 connections, and how long a health check takes meanwhile. The server is a process of its
// own, as `npm start` runs it; the load generator shares its cores.

const CONNECTIONS = 64;
const SECONDS = 10;
const HEALTH_INTERVAL_MS = 10;

interface Row {
  readonly load: string;
  readonly requestsPerSecond: number;
  readonly failed: number;
  readonly p99: number;
  readonly health: readonly number[];
}

const { values: flags } = parseArgs({ options: { write: { type: 'boolean', default: false } } });
const server = spawn(process.execPath, [fileURLToPath(new URL('../../../server/dist/main.js', import.meta.url))], {
  env: { ...process.env, ELBO_HOST: '127.0.0.1', ELBO_PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  const url = await addressOf(server.stdout);
  const png = await sample(url, 'image/png');
  const float32 = await sample(url, 'application/octet-stream');
  const json = Buffer.from(
    JSON.stringify({ inputs: [[...new Float32Array(float32.buffer.slice(float32.byteOffset))]] }),
  );
  const rows: Row[] = [{ load: 'none', requestsPerSecond: 0, failed: 0, p99: 0, health: await healthTimes(url) }];
  for (const [load, type, body] of [
    ['float32', 'application/octet-stream', float32],
    ['JSON', 'application/json', json],
    ['PNG', 'image/png', png],
  ] as const) {
    console.error(`${CONNECTIONS} connections, one ${load} item a request, ${SECONDS} s`);
    rows.push(await underLoad(url, load, type, body));
  }
  const report = describe(rows);
  console.log(report);
  if (flags.write) {
    const path = fileURLToPath(new URL('../../serving/RESULTS.md', import.meta.url));
    writeFileSync(path, `# Serving under load\n\nWritten by \`npm run bench:serving -- --write\`.\n\n${report}\n`);
  }
} finally {
  server.kill('SIGTERM');
  await once(server, 'exit');
}

/** The address in the server's log line. */
async function addressOf(log: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: log })) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address !== undefined) {
      log.resume();
      return address;
    }
  }
  throw new Error('the server ended before it served');
}

async function sample(url: string, accept: string): Promise<Buffer> {
  const response = await fetch(`${url}/sample?count=1&seed=7`, { method: 'POST', headers: { accept } });
  if (!response.ok) throw new Error(await response.text());
  return Buffer.from(await response.arrayBuffer());
}

async function underLoad(url: string, load: string, type: string, body: Buffer): Promise<Row> {
  const health = healthTimes(url);
  const result = await autocannon({
    url: `${url}/encode`,
    method: 'POST',
    headers: { 'content-type': type },
    body,
    connections: CONNECTIONS,
    duration: SECONDS,
  });
  return {
    load,
    requestsPerSecond: result.requests.average,
    failed: result.non2xx + result.errors,
    p99: result.latency.p99,
    health: await health,
  };
}

/** Milliseconds of one health check after another, over a little less than the time of the load. */
async function healthTimes(url: string): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const times: number[] = [];
  const end = Date.now() + (SECONDS - 1) * 1000;
  while (Date.now() < end) {
    const start = performance.now();
    const [response] = await once(get(`${url}/health/live`, { agent }), 'response');
    response.resume();
    await once(response, 'end');
    times.push(performance.now() - start);
    await delay(HEALTH_INTERVAL_MS);
  }
  agent.destroy();
  return times.sort((a, b) => a - b);
}

function describe(rows: readonly Row[]): string {
  const lines = rows.map(({ load, requestsPerSecond, failed, p99, health }) => {
    const cells = [
      load,
      load === 'none' ? '' : Math.round(requestsPerSecond).toLocaleString('en'),
      load === 'none' ? '' : String(failed),
      load === 'none' ? '' : `${p99}`,
      ...[0.5, 0.99].map((q) => quantileSorted([...health], q).toFixed(1)),
      max([...health]).toFixed(1),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    `\`POST /encode\` of the mnist model from ${CONNECTIONS} connections for ${SECONDS} s, one item a request, with \`GET /health/live\` every ${HEALTH_INTERVAL_MS} ms beside it.`,
    '',
    '| items as | requests/s | failed | p99, ms | health p50, ms | p99 | max |',
    '|---|---|---|---|---|---|---|',
    ...lines,
    '',
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores of ${cpus()[0].model} shared with the load generator, ` +
      `${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, node ${process.versions.node}.`,
  ].join('\n');
}
