import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type HttpRequest, type LoadPlan, load } from './load.js';

const PROCESS = fileURLToPath(new URL('./bare-http-process.js', import.meta.url));

/**
 * The same requests to a process that does nothing but HTTP with Node's own server: what a server in Node could reach
 * that neither checked what it is sent nor ran a model.
 * @returns requests a second
 */
export async function bareHttp(request: HttpRequest, answerBytes: number, plan: LoadPlan): Promise<number> {
  const child = fork(PROCESS, [String(answerBytes)]);
  try {
    const [port] = (await once(child, 'message')) as [number];
    const { answered, seconds } = await load(`http://127.0.0.1:${port}`, request, plan);
    return answered / seconds;
  } finally {
    child.disconnect();
    await once(child, 'exit');
  }
}
