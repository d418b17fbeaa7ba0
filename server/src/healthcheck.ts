import { isIPv6 } from 'node:net';
import { readConfiguration } from './configuration.js';

/** What a container engine runs to know whether the server beside it is ready: the exit code says. */
const { host, port } = readConfiguration(process.env).configuration;
// A server that listens on every address is asked on this one; another listens nowhere else.
const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : isIPv6(host) ? `[${host}]` : host;
const answer = await fetch(`http://${address}:${port}/health/ready`).catch(() => undefined);
process.exitCode = answer?.ok ? 0 : 1;
