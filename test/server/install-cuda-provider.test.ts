import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { encodeZip } from '../support/zip.js';

const SCRIPT = fileURLToPath(new URL('../../server/scripts/install-cuda-provider.mjs', import.meta.url));
const require = createRequire(SCRIPT);
const ONNXRUNTIME = dirname(require.resolve('onnxruntime-node/package.json'));
const ADM_ZIP = dirname(createRequire(join(ONNXRUNTIME, 'package.json')).resolve('adm-zip/package.json'));
const NATIVE = join(ONNXRUNTIME, 'bin', 'napi-v6', 'linux', 'x64');
const VERSION = '9.8.7';
const CUDA = 'libonnxruntime_providers_cuda.so';
const SHARED = 'libonnxruntime_providers_shared.so';
const TENSORRT = 'libonnxruntime_providers_tensorrt.so';

/** A shared library that the loader knows and that holds the version as the provider does; it needs libonnxruntime.so.1. */
function library(version = VERSION): Buffer {
  return Buffer.concat([readFileSync(join(NATIVE, 'onnxruntime_binding.node')), Buffer.from(`\0${version}\0`)]);
}

interface Installation {
  readonly directory: string;
  /** Where the provider goes. */
  readonly target: string;
  readonly run: (
    args: readonly string[],
    libraryPath?: string,
  ) => { status: number | null; output: string; errors: string };
}

/** The script beside an onnxruntime-node of another version, whose own script puts nothing and everything else there. */
function installation(ownScript = 'process.exit(1)'): Installation {
  const directory = temporaryDirectory();
  const onnxruntime = join(directory, 'node_modules', 'onnxruntime-node');
  const target = join(onnxruntime, 'bin', 'napi-v6', 'linux', 'x64');
  for (const made of [target, join(onnxruntime, 'script'), join(directory, 'scripts')])
    mkdirSync(made, { recursive: true });
  writeFileSync(join(onnxruntime, 'package.json'), JSON.stringify({ name: 'onnxruntime-node', version: VERSION }));
  writeFileSync(join(onnxruntime, 'script', 'install.js'), ownScript);
  writeFileSync(join(target, 'onnxruntime_binding.node'), '');
  symlinkSync(ADM_ZIP, join(directory, 'node_modules', 'adm-zip'));
  const script = join(directory, 'scripts', 'install-cuda-provider.mjs');
  copyFileSync(SCRIPT, script);
  return {
    directory,
    target,
    run: (args, libraryPath = '') => {
      const env = { ...process.env, LD_LIBRARY_PATH: libraryPath };
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', env });
      return { status, output: stdout, errors: stderr };
    },
  };
}

/** A directory with all that `library` needs, and a cuDNN. */
function libraries(): string {
  const directory = temporaryDirectory();
  symlinkSync(join(NATIVE, 'libonnxruntime.so.1'), join(directory, 'libonnxruntime.so.1'));
  writeFileSync(join(directory, 'libcudnn.so.9'), library());
  return directory;
}

function wheel(directory: string, { name = 'onnxruntime-gpu', version = VERSION, without = '' } = {}): string {
  const entries = [CUDA, SHARED, TENSORRT]
    .filter((file) => file !== without)
    .map((file) => ({ name: `onnxruntime/capi/${file}`, content: library() }));
  const metadata = Buffer.from(`Metadata-Version: 2.4\nName: ${name}\nVersion: ${version}\n`);
  const path = join(directory, 'provider.whl');
  writeFileSync(path, encodeZip([...entries, { name: 'onnxruntime_gpu.dist-info/METADATA', content: metadata }]));
  return path;
}

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('the CUDA provider', () => {
  it('comes out of a wheel without TensorRT', () => {
    const { directory, target, run } = installation();
    const { status, output } = run(['--from-wheel', wheel(directory)], libraries());
    expect(output).toBe(`ONNX Runtime's CUDA provider ${VERSION} is installed in ${target}\n`);
    expect(status).toBe(0);
    expect(readdirSync(target).sort()).toEqual([CUDA, SHARED, 'onnxruntime_binding.node'].sort());
    expect(readFileSync(join(target, CUDA))).toEqual(library());
  });

  it("comes by ONNX Runtime's own script, told to install and not only to look, and TensorRT goes again", () => {
    const source = join(temporaryDirectory(), 'library');
    writeFileSync(source, library());
    const { target, run } = installation(`
      if (process.env.ONNXRUNTIME_NODE_INSTALL !== 'true') process.exit(0);
      const { copyFileSync } = require('node:fs');
      for (const file of ${JSON.stringify([CUDA, SHARED, TENSORRT])}) {
        copyFileSync(${JSON.stringify(source)}, require('node:path').join(__dirname, '../bin/napi-v6/linux/x64', file));
      }`);
    const { status, errors } = run([], libraries());
    expect(errors).toBe('');
    expect(status).toBe(0);
    expect(readdirSync(target).sort()).toEqual([CUDA, SHARED, 'onnxruntime_binding.node'].sort());
  });

  it.each([
    ['a wheel of another version', { version: '9.8.6' }, /^the wheel is of onnxruntime-gpu 9\.8\.6; .+ 9\.8\.7$/],
    ['a wheel of another package', { name: 'numpy' }, /^the wheel is of numpy 9\.8\.7; .+ onnxruntime-gpu 9\.8\.7$/],
    [
      'a wheel without the provider',
      { without: CUDA },
      /^the wheel has no onnxruntime\/capi\/libonnxruntime_providers_cuda\.so$/,
    ],
  ])('is not taken from %s', (_, contents, message) => {
    const { directory, target, run } = installation();
    const { status, errors } = run(['--from-wheel', wheel(directory, contents)], libraries());
    expect(errors).toMatch(/^install-cuda-provider: [^\n]+\n$/);
    expect(errors.trim().replace('install-cuda-provider: ', '')).toMatch(message);
    expect(status).toBe(1);
    expect(readdirSync(target)).toEqual(['onnxruntime_binding.node']);
  });

  it.each([
    [
      'a file that is no wheel',
      (directory: string) => join(directory, 'package.json'),
      "the wheel can't be unpacked: ",
    ],
    ['a file that is not there', (directory: string) => join(directory, 'none.whl'), '--from-wheel must be a file: '],
  ])('is not taken from %s', (_, path, message) => {
    const { directory, run } = installation();
    writeFileSync(join(directory, 'package.json'), '{}');
    const { status, errors } = run(['--from-wheel', path(directory)], libraries());
    expect(errors).toMatch(/^[^\n]+\n$/);
    expect(errors).toContain(`install-cuda-provider: ${message}`);
    expect(status).toBe(1);
  });

  it('is refused where its own version is not that of onnxruntime-node', () => {
    const source = join(temporaryDirectory(), 'library');
    writeFileSync(source, library('9.8.6'));
    const { run } = installation(`
      for (const file of ${JSON.stringify([CUDA, SHARED])}) {
        require('node:fs').copyFileSync(${JSON.stringify(source)}, require('node:path').join(__dirname, '../bin/napi-v6/linux/x64', file));
      }`);
    const { status, errors } = run([], libraries());
    expect(errors).toMatch(/libonnxruntime_providers_cuda\.so does not say that it is of version 9\.8\.7/);
    expect(status).toBe(1);
  });

  it("fails in a line that tells the other way where ONNX Runtime's own script fails", () => {
    const { target, run } = installation("throw new Error('no such host')");
    const { status, errors } = run([], libraries());
    expect(errors).toMatch(/^install-cuda-provider: .*\(Error: no such host\).*onnxruntime-gpu==9\.8\.7.*\n$/);
    expect(status).toBe(1);
    expect(readdirSync(target)).toEqual(['onnxruntime_binding.node']);
  });

  it("is refused where ONNX Runtime's own script says that all went well and put nothing there", () => {
    const { target, run } = installation('');
    const { status, errors } = run([], libraries());
    expect(errors).toBe(`install-cuda-provider: ${CUDA} and ${SHARED} did not come into ${target}\n`);
    expect(status).toBe(1);
  });

  it('names the libraries that the loader does not find', () => {
    const { directory, run } = installation();
    const { status, errors } = run(['--from-wheel', wheel(directory)], temporaryDirectory());
    expect(errors).toMatch(
      /^install-cuda-provider: the provider is installed and needs libonnxruntime\.so\.1\b.*LD_LIBRARY_PATH\n$/,
    );
    expect(status).toBe(1);
  });

  it('is asked for with known options only', () => {
    const { status, errors } = installation().run(['--from-whel', 'file.whl']);
    expect(errors).toMatch(
      /^install-cuda-provider: Unknown option '--from-whel'.*expected nothing or --from-wheel FILE/,
    );
    expect(status).toBe(1);
  });
});
