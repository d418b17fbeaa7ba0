/** Entry point of a server that does nothing but HTTP: it reads a body and answers with so many bytes of it. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const answerBytes = Number(process.argv[2]);

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': answerBytes });
    response.end(Buffer.concat(chunks).subarray(0, answerBytes));
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.once('disconnect', () => process.exit());
