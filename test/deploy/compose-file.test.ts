import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { VARIABLES } from '@elbo/server/variables';
import { describe, expect, it, test } from 'vitest';
import { parse } from 'yaml';

interface Bind {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly read_only: boolean;
  readonly bind: { readonly create_host_path: boolean };
}

interface Service {
  readonly image: string;
  readonly build?: { readonly target: string };
  readonly environment?: Readonly<Record<string, unknown>>;
  readonly volumes?: readonly (string | Bind)[];
  readonly logging?: { readonly driver: string; readonly options: Readonly<Record<string, string>> };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly pids_limit?: number;
  readonly profiles?: readonly string[];
}

const repository = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${repository}/${path}`, 'utf8');
const { services, volumes } = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Readonly<Record<string, Service>>;
  volumes: object;
};
const dockerfile = read('Dockerfile');

/** Where the server listens and looks for models is fixed inside the image. */
const FIXED = ['ELBO_HOST', 'ELBO_PORT', 'ELBO_MODELS_DIR'];

it.each(['server', 'server-cuda'])('%s passes on every variable of the configuration, and no other', (name) => {
  const passed = Object.keys(services[name]?.environment ?? {}).filter((variable) => variable.startsWith('ELBO_'));
  expect(passed.sort()).toEqual(
    Object.keys(VARIABLES)
      .filter((variable) => !FIXED.includes(variable))
      .sort(),
  );
});

it('starts nothing but the server without a profile', () => {
  const started = Object.entries(services).filter(([, { profiles }]) => profiles === undefined);
  expect(started.map(([name]) => name)).toEqual(['server']);
});

describe.each(Object.entries(services))('%s', (_, service) => {
  it('may change nothing but its volumes and /tmp, and gain no right', () => {
    expect(service.read_only).toBe(true);
    expect(service.cap_drop).toEqual(['ALL']);
    expect(service.security_opt).toContain('no-new-privileges:true');
    expect(service.pids_limit).toBeGreaterThan(0);
  });

  it('keeps a bounded log', () => {
    expect(service.logging?.driver).toBe('local');
    expect(Object.keys(service.logging?.options ?? {}).sort()).toEqual(['max-file', 'max-size']);
  });

  it('comes from a target of the Dockerfile, or an image of a fixed version', () => {
    if (service.build !== undefined)
      expect(dockerfile).toMatch(new RegExp(`^FROM .* AS ${service.build.target}$`, 'm'));
    else expect(service.image).toMatch(/:v?\d+\.\d+/);
  });

  it('mounts what is there', () => {
    for (const mount of service.volumes ?? []) {
      if (typeof mount !== 'string') continue;
      const [source = ''] = mount.split(':');
      if (source.startsWith('./')) expect(existsSync(`${repository}/${source}`), source).toBe(true);
      else expect(Object.keys(volumes)).toContain(source);
    }
  });
});

test('data are mounted from any path that is there, and from no other', () => {
  const binds = (services.elbo?.volumes ?? []).filter((mount): mount is Bind => typeof mount !== 'string');
  // `FOLDER:/data` would be a volume of that name, and a path that is not there would be made.
  expect(binds).toEqual([
    {
      type: 'bind',
      source: `\${ELBO_DATA_DIR:-./data}`,
      target: '/data',
      read_only: true,
      bind: { create_host_path: false },
    },
  ]);
  const kept = execFileSync('git', ['ls-files', '--', 'data'], { cwd: repository, encoding: 'utf8' });
  expect(kept).toBe('data/.gitkeep\n');
});

test('the proxy believes nobody who says for whom a request is', () => {
  const configuration = read('deploy/haproxy/haproxy.cfg');
  expect(configuration).toMatch(/^ {4}http-request set-header x-forwarded-for %\[src\]$/m);
  // It would be a second one, beside the caller's.
  expect(configuration).not.toMatch(/^\s*option forwardfor/m);
});

test('services that serve have a limit of memory', () => {
  for (const [name, { mem_limit, profiles }] of Object.entries(services)) {
    if (!profiles?.includes('train')) expect(mem_limit, name).toBeDefined();
  }
});

test('every image that the Dockerfile starts from has a tag', () => {
  const stages = [...dockerfile.matchAll(/ AS (\S+)$/gm)].map(([, name]) => name);
  const bases = [...dockerfile.matchAll(/^FROM (?:--\S+ )?(\S+)/gm)].map(([, base]) => base ?? '');
  const defaults = Object.fromEntries([...dockerfile.matchAll(/^ARG (\w+)=(\S+)/gm)].map(([, k, v]) => [k, v]));
  for (const base of bases) {
    const image = base.replace(/^\$\{(\w+)\}$/, (_, name: string) => defaults[name] ?? '');
    if (image !== 'scratch' && !stages.includes(image)) expect(image).toMatch(/^[\w./-]+:\d[\w.-]+$/);
  }
});
