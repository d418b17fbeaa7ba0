import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

export interface PackageManifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly license?: string;
  readonly engines?: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly sideEffects?: boolean | readonly string[];
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly workspaces?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

export interface Workspace {
  readonly directory: string;
  readonly manifest: PackageManifest;
}

export function manifestOf(directory: string): PackageManifest {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as PackageManifest;
}

export const workspaces: readonly Workspace[] = (manifestOf(ROOT).workspaces ?? []).map((folder) => {
  const directory = join(ROOT, folder);
  return { directory, manifest: manifestOf(directory) };
});

/** The workspaces that `npm publish --workspaces` publishes. */
export const publishable: readonly Workspace[] = workspaces.filter(({ manifest }) => manifest.private !== true);

export interface Packed {
  readonly tarball: string;
  /** Paths inside the package. */
  readonly files: readonly string[];
  readonly bytes: number;
}

/** Packs a workspace as it is published: `npm pack`, which runs no script here. */
export async function pack({ directory }: Workspace, destination: string): Promise<Packed> {
  const options = ['--json', '--ignore-scripts', '--pack-destination', destination];
  const { stdout } = await promisify(execFile)('npm', ['pack', ...options], { cwd: directory });
  const [packed] = JSON.parse(stdout) as { filename: string; size: number; files: { path: string }[] }[];
  if (packed === undefined) throw new Error(`npm pack made nothing of ${directory}`);
  return {
    tarball: join(destination, packed.filename),
    files: packed.files.map(({ path }) => path),
    bytes: packed.size,
  };
}
