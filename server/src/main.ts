import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { ConfigurationError, GRACE_MS, readConfiguration } from './configuration.js';
import { InferenceError } from './inference/errors.js';
import { startThreads } from './inference/start-threads.js';
import { anyThreadHangs } from './inference/worker-thread.js';

async function main(): Promise<void> {
  const { configuration, warnings } = readConfiguration(process.env);
  const log = pino({ level: configuration.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime });
  for (const warning of warnings) log.warn(warning);

  // Loading modules takes this thread about as long as the others need for ONNX Runtime and the models.
  const [started, { InferenceService }] = await Promise.all([
    startThreads(configuration),
    import('./inference/service.js'),
  ]);
  // An import holds up what goes on beside it, so the models are read before: threads load them during the import.
  let onLoading = (): void => {};
  const loading = new Promise<void>((resolve) => {
    onLoading = resolve;
  });
  const starting = InferenceService.start({ ...configuration, started, onLoading }, log);
  await Promise.race([loading, starting]);
  const [service, { buildApp }] = await Promise.all([starting, import('./app.js')]);
  const app = await buildApp({ ...configuration, service, logger: log });

  let stopping = false;
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (stopping) end(1);
    stopping = true;
    app.lifecycle.stopping = true;
    log.info(`${signal}: finishing what was accepted`);
    const { shutdownDelaySeconds } = configuration;
    if (shutdownDelaySeconds > 0) await delay(shutdownDelaySeconds * 1000);
    setTimeout(() => {
      log.error(`requests were still running after ${GRACE_MS / 1000} seconds`);
      end(1);
    }, GRACE_MS).unref();
    await app.close();
    await service.close();
    log.info('stopped');
    end(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  // Fastify writes a line for each address; ours below says it once.
  log.level = 'silent';
  const address = await app.listen({ host: configuration.host, port: configuration.port });
  log.level = configuration.logLevel;
  const { provider, workers, notReady } = service.status;
  log.info(
    {
      address,
      models: service.registry.list().map(({ key }) => key),
      default_model: service.registry.defaultModel,
      provider,
      workers,
      threads: configuration.threads,
    },
    `serving at ${address}`,
  );
  if (notReady !== undefined) log.error(`not ready: ${notReady}`);
}

function end(code: number): never {
  // `process.exit` waits for threads, and one that hangs in native code never ends.
  if (anyThreadHangs()) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

try {
  await main();
} catch (error) {
  // A mistake of the operator's is one line; anything else is ours and keeps its stack.
  const { code, message, stack } = error as NodeJS.ErrnoException;
  const expected =
    error instanceof ConfigurationError || error instanceof InferenceError || /^E(AI_)?[A-Z]+$/.test(code ?? '');
  process.stderr.write(`elbo: ${expected ? message : stack}\n`);
  process.exit(error instanceof ConfigurationError ? 2 : 1);
}
