#!/usr/bin/env node
// Installs the native binding of @tensorflow/tfjs-node, which `npm ci` leaves out because it runs no install scripts:
//   npm run setup:tfjs                            the package's own way, else TensorFlow's wheel from PyPI
//   npm run setup:tfjs -- --libtensorflow DIR     TensorFlow from DIR: a libtensorflow distribution (lib/, include/)
//                                                 or the `tensorflow` folder of an installed wheel
// Writes to node_modules only. Exits with 0 when tfjs-node works, else with 1; the last line says which, and why.

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const PACKAGE_JSON = require.resolve('@tensorflow/tfjs-node/package.json');
const PACKAGE = dirname(PACKAGE_JSON);
const NODE_MODULES = resolve(PACKAGE, '../..');
const CACHE = join(NODE_MODULES, '.cache', 'elbo-libtensorflow');
const VERIFIER = fileURLToPath(new URL('verify-tfjs.mjs', import.meta.url));

/**
 * The wheel whose libtensorflow_cc has the C API that the binding needs. Any Python's wheel will do: none of it runs.
 * 2.12.0, 2.15.1, 2.19.1 and 2.21.0 all compile, compute right and take the same time; the later two are a third larger.
 */
const WHEEL = {
  requirement: 'tensorflow-cpu==2.15.1',
  sha256: '54660c074d7241a503e81edfd9f5ef5af88f64051b72e2945f26318c790f2d26',
  python: '3.11',
  platform: 'manylinux2014_x86_64',
};
/** What the binding includes and links to; the rest of the wheel is Python. */
const WHEEL_PARTS = [
  'tensorflow/libtensorflow_',
  'tensorflow/include/tensorflow/c/',
  'tensorflow/include/tensorflow/core/platform/ctstring',
  'tensorflow/include/tsl/c/',
  'tensorflow/include/tsl/platform/ctstring',
];
const NODE_API_HEADERS = 'node-api-headers@1.9.0';
/** The newest Node-API that tfjs-node 4.22 is written for; every Node that Elbo runs on has it. */
const NODE_API_VERSION = 8;
/** Long enough for hundreds of megabytes on a slow line; a host that does not answer at all must not stop the setup. */
const DOWNLOAD_TIMEOUT = 20 * 60_000;

/** A failure with a cause that its message tells in a line. */
class SetupError extends Error {}

try {
  const { values } = readArguments();
  if (values.help) console.log(usage());
  else conclude(setup(values.libtensorflow));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.log(`setup:tfjs failed: ${error.message}`);
  process.exitCode = 1;
}

function readArguments() {
  try {
    return parseArgs({ options: { libtensorflow: { type: 'string' }, help: { type: 'boolean' } } });
  } catch (error) {
    throw new SetupError(`${error.message}; --help tells the options`);
  }
}

function usage() {
  const lines = readFileSync(fileURLToPath(import.meta.url), 'utf8').split('\n');
  return lines
    .filter((line) => line.startsWith('//'))
    .map((line) => line.slice(3))
    .join('\n');
}

function conclude(backend) {
  console.log(`${backend} works: a matrix product and the gradients of a convolution are right.`);
}

/** @returns the backend that works now */
function setup(libtensorflow) {
  if (libtensorflow !== undefined) return build(libraryIn(resolve(process.env.INIT_CWD ?? '', libtensorflow)));
  const present = verify();
  if (present.works) {
    console.log('The binding is there already.');
    return present.message;
  }
  return packagesOwnWay() ?? build(libraryFromWheel());
}

/** Runs tfjs-node's install script: libtensorflow and a built binding from its publisher's host. */
function packagesOwnWay() {
  console.log("Trying tfjs-node's own install script …");
  const packageJson = readFileSync(PACKAGE_JSON);
  // The script edits its package.json in place; a file of its own keeps hard links to it (npm stores, copies) intact.
  replaceFile(PACKAGE_JSON, packageJson);
  const { status, output } = run(process.execPath, ['scripts/install.js'], {
    cwd: PACKAGE,
    timeout: DOWNLOAD_TIMEOUT,
    env: { ...process.env, PATH: `${join(NODE_MODULES, '.bin')}${delimiter}${process.env.PATH ?? ''}` },
  });
  replaceFile(PACKAGE_JSON, packageJson);
  const { works, message } = status === 0 ? verify() : { works: false, message: errorIn(output) };
  if (works) return message;
  console.log(`That did not work (${message}).`);
  rmSync(join(PACKAGE, 'deps'), { recursive: true, force: true });
  rmSync(bindingPath(), { force: true });
  return undefined;
}

/** Downloads TensorFlow's wheel, unless the cache has it, and unpacks the library. */
function libraryFromWheel() {
  const folder = join(CACHE, WHEEL.requirement.replace('==', '-'));
  if (existsSync(folder)) {
    console.log(`Taking libtensorflow from ${folder}.`);
    return libraryIn(folder);
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    const found = `${process.platform} on ${process.arch}`;
    throw new SetupError(`PyPI's wheel is taken on linux on x64 only, this is ${found}; give --libtensorflow DIR`);
  }
  const python = ['python3', 'python'].find((name) => run(name, ['-m', 'pip', '--version']).status === 0);
  if (python === undefined) {
    throw new SetupError(
      'PyPI needs Python 3 with pip, found neither as python3 nor as python; give --libtensorflow DIR',
    );
  }
  mkdirSync(CACHE, { recursive: true });
  const staging = mkdtempSync(join(CACHE, 'unpacking-'));
  try {
    console.log(`Downloading ${WHEEL.requirement} from PyPI by pip (about 200 MB) …`);
    downloadWheel(python, staging);
    console.log('Unpacking libtensorflow (about 600 MB) …');
    unpackWheel(python, staging);
    renameSync(join(staging, 'tensorflow'), folder);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return libraryIn(folder);
}

function downloadWheel(python, folder) {
  const requirements = join(folder, 'requirements.txt');
  writeFileSync(requirements, `${WHEEL.requirement} --hash=sha256:${WHEEL.sha256}\n`);
  const platform = ['--only-binary=:all:', '--python-version', WHEEL.python, '--platform', WHEEL.platform];
  const options = ['--quiet', '--no-deps', '--require-hashes', '--dest', folder, '--requirement', requirements];
  const { status, output } = run(python, ['-m', 'pip', 'download', ...options, ...platform], {
    timeout: DOWNLOAD_TIMEOUT,
  });
  if (status !== 0) throw new SetupError(`pip does not get ${WHEEL.requirement}: ${errorIn(output)}`);
}

function unpackWheel(python, folder) {
  const program = [
    'import sys, zipfile',
    'wheel = zipfile.ZipFile(sys.argv[1])',
    'wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(tuple(sys.argv[3:]))])',
  ];
  const wheel = readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new SetupError(`pip said that it got ${WHEEL.requirement}, yet left no wheel`);
  const { status, output } = run(python, ['-c', program.join('\n'), join(folder, wheel), folder, ...WHEEL_PARTS]);
  if (status !== 0) throw new SetupError(`the wheel of ${WHEEL.requirement} does not unpack: ${errorIn(output)}`);
}

/** The headers and the shared libraries of a libtensorflow distribution or of a wheel's `tensorflow` folder. */
function libraryIn(folder) {
  const include = join(folder, 'include');
  if (!existsSync(join(include, 'tensorflow', 'c', 'eager', 'c_api.h'))) {
    throw new SetupError(`${folder} has no include/tensorflow/c/eager/c_api.h: expected a libtensorflow folder`);
  }
  for (const lib of [join(folder, 'lib'), folder]) {
    const files = existsSync(lib) ? readdirSync(lib) : [];
    const api = ['libtensorflow.so.2', 'libtensorflow_cc.so.2'].find((name) => files.includes(name));
    const framework = files.find((name) => name === 'libtensorflow_framework.so.2');
    if (api !== undefined && framework !== undefined) return { include, lib, names: [api, framework] };
  }
  throw new SetupError(
    `${folder} lacks libtensorflow.so.2 or libtensorflow_cc.so.2 (wheels have it from 2.12 on), ` +
      'or libtensorflow_framework.so.2',
  );
}

/**
 * Compiles tfjs-node's binding against the library and puts it where tfjs-node looks for it. By the compiler itself,
 * not by node-gyp: the binding is two files against Node-API, and node-gyp would fetch Node's own headers first.
 */
function build({ include, lib, names }) {
  const compiler = [process.env.CXX, 'c++', 'g++', 'clang++'].find(
    (name) => name && run(name, ['--version']).status === 0,
  );
  if (compiler === undefined) throw new SetupError('no C++ compiler: tried $CXX, c++, g++ and clang++');
  const headers = nodeApiHeaders();
  const binding = bindingPath();
  mkdirSync(dirname(binding), { recursive: true });
  const compiled = `${binding}.new`;
  console.log(`Compiling the binding against ${lib} …`);
  const { status, output } = run(compiler, [
    ...['-shared', '-fPIC', '-O2', '-std=c++17', `-DNAPI_VERSION=${NODE_API_VERSION}`],
    ...[`-I${headers}`, `-I${include}`],
    ...['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(PACKAGE, 'binding', name)),
    ...[`-L${lib}`, ...names.map((name) => `-l:${name}`), `-Wl,-rpath,${loadPath(dirname(binding), lib)}`],
    ...['-o', compiled],
  ]);
  if (status !== 0) throw new SetupError(`the binding does not compile: ${errorIn(output)}`);
  renameSync(compiled, binding);
  const { works, message } = verify();
  if (works) return message;
  // A binding that does not work might take down every process that tries it; without one, plain tfjs is used.
  rmSync(binding);
  throw new SetupError(message);
}

/** Relative inside of node_modules, so that the tree can be moved. */
function loadPath(from, lib) {
  const inside = !relative(NODE_MODULES, lib).startsWith('..');
  return inside ? `$ORIGIN/${relative(from, lib)}` : lib;
}

/** Node-API is the same for every Node, so any copy of its headers will do: this Node's own, else those on npm. */
function nodeApiHeaders() {
  const near = join(dirname(process.execPath), '..', 'include', 'node');
  if (existsSync(join(near, 'node_api.h'))) return near;
  const folder = join(CACHE, NODE_API_HEADERS);
  const include = join(folder, 'package', 'include');
  if (existsSync(join(include, 'node_api.h'))) return include;
  console.log(`Downloading ${NODE_API_HEADERS} from npm, since this Node has no headers beside it …`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const npm = process.env.npm_execpath;
  const command = npm === undefined ? ['npm'] : [process.execPath, npm];
  const pack = run(command[0], [
    ...command.slice(1),
    'pack',
    NODE_API_HEADERS,
    '--silent',
    '--pack-destination',
    folder,
  ]);
  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  if (pack.status !== 0 || archive === undefined) {
    throw new SetupError(`npm does not get ${NODE_API_HEADERS}: ${errorIn(pack.output)}`);
  }
  const unpacked = run('tar', ['-xzf', join(folder, archive), '-C', folder]);
  if (unpacked.status !== 0) throw new SetupError(`${archive} does not unpack: ${errorIn(unpacked.output)}`);
  return include;
}

/** Where tfjs-node looks for its binding. */
function bindingPath() {
  const preGyp = createRequire(PACKAGE_JSON)('@mapbox/node-pre-gyp');
  return preGyp.find(PACKAGE_JSON);
}

function verify() {
  const { status, output } = run(process.execPath, [VERIFIER]);
  return { works: status === 0, message: status === 0 ? output.trim() : errorIn(output) };
}

function run(command, options, settings = {}) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, options, { encoding: 'utf8', ...settings });
  if (error !== undefined) return { status: 1, output: error.message };
  return { status, output: signal === null ? stdout + stderr : `${stdout}${stderr}\nended by ${signal}` };
}

/** The line of a program's output that tells best what went wrong: the first that tells an error, else the last. */
function errorIn(output) {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.find((line) => /error: /i.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

/** Puts a new file in place of the old one, instead of writing into it. */
function replaceFile(path, content) {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}
