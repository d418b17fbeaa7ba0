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
    expect(configuration.modelsDirectory).toMatch(/models$/);
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
    ['ELBO_LOG_LEVEL', 'loud', 'one of fatal, error, warn, info, debug, trace, silent'],
  ])('refuses %s=%s in one line', (name, value, expected) => {
    const attempt = () => read({ [name]: value });
    expect(attempt).toThrow(ConfigurationError);
    expect(attempt).toThrow(`${name}=${value}: expected ${expected}`);
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
