import { readConfiguration } from './configuration.js';

/** What a container engine runs to know whether the server beside it is ready: the exit code says. */
const { port } = readConfiguration(process.env).configuration;
const answer = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined);
process.exitCode = answer?.ok ? 0 : 1;
