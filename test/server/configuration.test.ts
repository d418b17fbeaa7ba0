import { resolve } from 'node:path';
import { ConfigurationError, readConfiguration } from '@elbo/server/configuration';
import { availableCpus } from '@elbo/server/cpu-quota';
import { describe, expect, it } from 'vitest';

const read = (environment: Record<string, string>, cpus = 4) => readConfiguration(environment, cpus);

describe('configuration from the environment', () => {
  it('has defaults, sized to the CPUs', () => {
    const { configuration, warnings } = read({});
    expect(configuration).toMatchObject({
      host: '0.0.0.0',
      port: 8080,
      provider: 'auto',
      workers: 4,
      threads: 1,
      logLevel: 'info',
      defaultModel: undefined,
    });
    expect(configuration.modelsDirectory).toBe(resolve('models'));
    expect(warnings).toEqual([]);
  });

  it('shares the CPUs among fewer workers', () => {
    expect(read({ ELBO_WORKERS: '2' }, 8).configuration).toMatchObject({ workers: 2, threads: 4 });
    expect(read({ ELBO_PROVIDER: 'cuda' }, 8).configuration).toMatchObject({ workers: 1 });
  });

  it('takes an empty variable as unset', () => {
    expect(read({ ELBO_PORT: '', ELBO_DEFAULT_MODEL: ' ' }).configuration).toMatchObject({
      port: 8080,
      defaultModel: undefined,
    });
  });

  it.each([
    ['ELBO_PORT', '80a', 'an integer from 0 to 65535'],
    ['ELBO_PORT', '65536', 'an integer from 0 to 65535'],
    ['ELBO_PORT', '-1', 'an integer from 0 to 65535'],
    ['ELBO_PORT', '1e3', 'an integer from 0 to 65535'],
    ['ELBO_WORKERS', '0', 'an integer from 1'],
    ['ELBO_THREADS', '1.5', 'an integer from 1'],
    ['ELBO_MAX_BATCH', '0', 'an integer from 1'],
    ['ELBO_MAX_QUEUE', 'many', 'an integer from 1'],
    ['ELBO_BODY_LIMIT', '16MB', 'an integer from 1024'],
    ['ELBO_PROVIDER', 'gpu', 'one of auto, cpu, cuda, webgpu'],
    ['ELBO_MAX_CONNECTIONS', '0', 'an integer from 1'],
    ['ELBO_SHUTDOWN_DELAY', '301', 'an integer from 0 to 300'],
    ['ELBO_OPEN_ROUTES', 'metrics,models', 'some of metrics, docs, not models'],
    ['ELBO_RATE_LIMIT', '100', 'requests a second or minute, such as 50/s or 600/min'],
    ['ELBO_RATE_LIMIT', '0/s', 'requests a second or minute'],
    ['ELBO_ITEM_RATE_LIMIT', '1e6/min', 'items a second or minute, such as 50/s or 600/min'],
    ['ELBO_CORS_ORIGINS', 'https://a.example/', '* or origins such as https://example.org, not https://a.example/'],
    ['ELBO_TRUSTED_PROXIES', '10.0.0.0/33', 'addresses or networks such as 10.0.0.0/8'],
    ['ELBO_TRUSTED_PROXIES', 'proxy', 'addresses or networks'],
    ['ELBO_LOG_REQUESTS', 'some', 'one of failed, all, none'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318', 'an http or https URL'],
    ['ELBO_LOG_LEVEL', 'loud', 'one of fatal, error, warn, info, debug, trace, silent'],
  ])('refuses %s=%s in one line', (name, value, expected) => {
    const attempt = () => read({ [name]: value });
    expect(attempt).toThrow(ConfigurationError);
    expect(attempt).toThrow(`${name}=${value}: expected ${expected}`);
  });

  it('takes keys by their hashes, several of them', () => {
    const [a, b] = ['a', 'B'].map((digit) => digit.repeat(64));
    const { security } = read({ ELBO_API_KEYS: ` jobs:${a}, jobs-2:${b} ,`, ELBO_ADMIN_KEYS: `me:${a}` }).configuration;
    expect(security.apiKeys).toEqual([
      { name: 'jobs', hash: a },
      { name: 'jobs-2', hash: 'b'.repeat(64) },
    ]);
    expect(security.adminKeys).toEqual([{ name: 'me', hash: a }]);
  });

  it.each(['elbo_secret', 'name:elbo_secret', `a b:${'0'.repeat(64)}`])(
    'does not repeat an entry that is no hash, as it might be a key',
    (entry) => {
      const attempt = () => read({ ELBO_API_KEYS: `jobs:${'0'.repeat(64)},${entry}` });
      expect(attempt).toThrow(/^ELBO_API_KEYS: expected entry 2 to be NAME:HASH/);
      expect(attempt).not.toThrow(/secret|a b/);
    },
  );

  it('reads limits, origins and proxies', () => {
    const { security, maxConnections, shutdownDelaySeconds } = read({
      ELBO_RATE_LIMIT: '600/min',
      ELBO_ITEM_RATE_LIMIT: '10000/min',
      ELBO_CORS_ORIGINS: 'https://a.example,http://localhost:5173',
      ELBO_TRUSTED_PROXIES: '10.0.0.0/8,::1,fd00::/8',
      ELBO_MAX_CONNECTIONS: '500',
      ELBO_SHUTDOWN_DELAY: '5',
    }).configuration;
    expect(security).toEqual({
      apiKeys: [],
      adminKeys: [],
      openRoutes: [],
      rateLimit: { requests: 600, windowMs: 60_000 },
      itemRateLimit: { items: 10_000, windowMs: 60_000 },
      corsOrigins: ['https://a.example', 'http://localhost:5173'],
      trustedProxies: ['10.0.0.0/8', '::1', 'fd00::/8'],
    });
    expect({ maxConnections, shutdownDelaySeconds }).toEqual({ maxConnections: 500, shutdownDelaySeconds: 5 });
    expect(read({ ELBO_RATE_LIMIT: '5/s' }).configuration.security.rateLimit).toEqual({ requests: 5, windowMs: 1000 });
  });

  it.each([
    [{}, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector/v1/traces' }, true],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_SDK_DISABLED: 'true' }, false],
  ])('traces where OpenTelemetry is told where to: %j', (environment, tracing) => {
    expect(read(environment).configuration.tracing).toBe(tracing);
  });

  it('warns of a variable that means nothing, with the nearest that does', () => {
    const { warnings } = read({ ELBO_PROT: '1', ELBO_MODEL_DIR: 'x', OTHER: 'y' });
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain('ELBO_MODEL_DIR');
    expect(warnings[0]).toContain('did you mean ELBO_MODELS_DIR?');
    expect(warnings[1]).toContain('did you mean ELBO_PORT?');
  });
});

describe('CPUs that may be used', () => {
  const files = (contents: Record<string, string>) => (path: string) => {
    const text = contents[path];
    if (text === undefined) throw new Error('ENOENT');
    return text;
  };

  it.each([
    ['no cgroup', {}, 8, 8],
    ['cgroup v2 without a quota', { '/sys/fs/cgroup/cpu.max': 'max 100000\n' }, 8, 8],
    ['cgroup v2', { '/sys/fs/cgroup/cpu.max': '250000 100000\n' }, 8, 2],
    ['less than one CPU', { '/sys/fs/cgroup/cpu.max': '50000 100000\n' }, 8, 1],
    ['a quota above what is offered', { '/sys/fs/cgroup/cpu.max': '900000 100000\n' }, 4, 4],
    [
      'cgroup v1',
      { '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
      8,
      3,
    ],
    [
      'cgroup v1 without a quota',
      { '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
      8,
      8,
    ],
  ])('%s', (_name, contents, offered, expected) => {
    expect(availableCpus(files(contents), offered)).toBe(expected);
  });
});
