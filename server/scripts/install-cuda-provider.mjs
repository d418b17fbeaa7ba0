#!/usr/bin/env node
// Installs ONNX Runtime's CUDA provider, which onnxruntime-node leaves out because of its size, into node_modules:
//   node server/scripts/install-cuda-provider.mjs                     by ONNX Runtime's own script, from NuGet
//   node server/scripts/install-cuda-provider.mjs --from-wheel FILE   out of the wheel of onnxruntime-gpu that pip downloaded
// Exits with 0 when the provider is there, of onnxruntime-node's version, and finds CUDA and cuDNN, else with 1; the last line
// says why.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const PROVIDER = 'libonnxruntime_providers_cuda.so';
const LIBRARIES = [PROVIDER, 'libonnxruntime_providers_shared.so'];
const TENSORRT = 'libonnxruntime_providers_tensorrt.so';
/** The provider loads it when the first session needs it, so the list of what it links to has no such entry. */
const CUDNN = 'libcudnn.so.9';
/** The driver's own library: a container gets it from the host when it starts. */
const DRIVER = 'libcuda.so.1';
const UNREADABLE = "the wheel can't be unpacked";

/** A failure that its message tells in a line. */
class InstallError extends Error {}

const manifest = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
// What ONNX Runtime's own script unpacks with.
const AdmZip = createRequire(manifest)('adm-zip');
const { version } = JSON.parse(readFileSync(manifest, 'utf8'));

try {
  const { values } = readArguments();
  const target = targetDirectory();
  if (values['from-wheel'] === undefined) fromNuget(target);
  else unpack(readWheel(values['from-wheel']), target);
  check(target);
  console.log(`ONNX Runtime's CUDA provider ${version} is installed in ${target}`);
} catch (error) {
  const { code } = error;
  if (!(error instanceof InstallError) && !/^E[A-Z]+$/.test(code ?? '')) throw error;
  console.error(`install-cuda-provider: ${error.message}`);
  process.exitCode = 1;
}

function readArguments() {
  try {
    return parseArgs({ options: { 'from-wheel': { type: 'string' } } });
  } catch (error) {
    throw new InstallError(`${error.message}; expected nothing or --from-wheel FILE`);
  }
}

/** Beside onnxruntime-node's native binding. */
function targetDirectory() {
  const platform = `${process.platform}/${process.arch}`;
  if (platform !== 'linux/x64')
    throw new InstallError(`there is a CUDA provider for linux/x64 only; this is ${platform}`);
  const bin = join(dirname(manifest), 'bin');
  const directories = readdirSync(bin).map((api) => join(bin, api, 'linux', 'x64'));
  const found = directories.find((directory) => existsSync(join(directory, 'onnxruntime_binding.node')));
  if (found === undefined) throw new InstallError(`onnxruntime-node has no binding for linux/x64 in ${bin}`);
  return found;
}

function fromNuget(target) {
  // `cuda12`, which its documentation names, counts as no choice in 1.30, and as "nothing to do" below an npm script.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'true' };
  const script = join(dirname(manifest), 'script', 'install.js');
  const { status, stderr } = spawnSync(process.execPath, [script], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  rmSync(join(target, TENSORRT), { force: true });
  if (status === 0) return;
  const reason = /^\w*Error: .+/m.exec(stderr)?.[0] ?? `exit code ${status}`;
  throw new InstallError(
    `ONNX Runtime's own script failed (${reason}). Where NuGet can't be reached, \`pip download --no-deps --only-binary=:all: ` +
      `--platform manylinux_2_28_x86_64 --python-version 3.12 onnxruntime-gpu==${version}\` has the same libraries, for --from-wheel FILE`,
  );
}

function readWheel(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InstallError(`--from-wheel must be a file: ${error.message}`);
  }
}

function unpack(wheel, target) {
  const archive = attempt(() => new AdmZip(wheel), UNREADABLE);
  const metadata = archive.getEntries().find(({ entryName }) => /^[^/]+\.dist-info\/METADATA$/.test(entryName));
  const text = metadata === undefined ? '' : attempt(() => metadata.getData(), UNREADABLE).toString();
  const field = (name) => new RegExp(`^${name}: (.+)$`, 'm').exec(text)?.[1].trim() ?? 'unknown';
  if (field('Name') !== 'onnxruntime-gpu' || field('Version') !== version) {
    const found = `${field('Name')} ${field('Version')}`;
    throw new InstallError(`the wheel is of ${found}; onnxruntime-node needs onnxruntime-gpu ${version}`);
  }
  for (const library of LIBRARIES) {
    const entry = archive.getEntry(`onnxruntime/capi/${library}`);
    if (entry === null) throw new InstallError(`the wheel has no onnxruntime/capi/${library}`);
    const path = join(target, library);
    // A library appears whole or not at all.
    try {
      writeFileSync(
        `${path}.part`,
        attempt(() => entry.getData(), UNREADABLE),
        { mode: 0o644 },
      );
      renameSync(`${path}.part`, path);
    } finally {
      rmSync(`${path}.part`, { force: true });
    }
  }
}

/** @throws {InstallError} what is wrong, with the reason */
function attempt(read, wrong) {
  try {
    return read();
  } catch (error) {
    throw new InstallError(`${wrong}: ${error.message}`);
  }
}

/** @throws {InstallError} where the provider is not whole, of another version, or without a library that it needs */
function check(target) {
  const missing = LIBRARIES.filter((library) => !existsSync(join(target, library)));
  if (missing.length > 0) throw new InstallError(`${missing.join(' and ')} did not come into ${target}`);
  const provider = join(target, PROVIDER);
  if (!readFileSync(provider).includes(`\0${version}\0`)) {
    throw new InstallError(`${provider} does not say that it is of version ${version}, as onnxruntime-node is`);
  }
  const { stdout, error } = spawnSync('ldd', [provider], { encoding: 'utf8' });
  if (error !== undefined)
    throw new InstallError(`ldd can't tell which libraries the provider needs: ${error.message}`);
  const absent = [...stdout.matchAll(/^\s*(\S+) => not found$/gm)].map(([, name]) => name);
  if (!loads(CUDNN)) absent.push(CUDNN);
  const needed = absent.filter((name) => name !== DRIVER);
  if (needed.length > 0) {
    throw new InstallError(
      `the provider is installed and needs ${needed.join(', ')}, which the loader does not find: ` +
        'install CUDA and cuDNN of these versions, or put their directories into LD_LIBRARY_PATH',
    );
  }
}

function loads(library) {
  try {
    process.dlopen({ exports: {} }, library);
    return true;
  } catch (error) {
    // Found, but of course no addon of Node's.
    return !error.message.includes('cannot open shared object file');
  }
}
