/** A whole HTTP response. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: Buffer;
}

const HEAD_END = '\r\n\r\n';

/** Reads the responses on one connection, one after another: no more of HTTP than servers in a benchmark use. */
export class AnswerReader {
  #held: Buffer = Buffer.alloc(0);

  /** @returns the response that `data` completes; undefined while some of it is still to come */
  feed(data: Buffer): HttpAnswer | undefined {
    this.#held = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    const headEnd = this.#held.indexOf(HEAD_END);
    if (headEnd === -1) return undefined;
    const head = this.#held.toString('latin1', 0, headEnd);
    const start = headEnd + HEAD_END.length;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    const body =
      length === undefined ? chunkedBody(this.#held.subarray(start)) : sizedBody(this.#held, start, Number(length));
    if (body === undefined) return undefined;
    this.#held = Buffer.alloc(0);
    return { status: Number(head.slice(9, 12)), body };
  }
}

function sizedBody(held: Buffer, start: number, length: number): Buffer | undefined {
  return held.length < start + length ? undefined : held.subarray(start, start + length);
}

function chunkedBody(held: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = held.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = Number.parseInt(held.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (held.length < start + size + 2) return undefined;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(held.subarray(start, start + size));
    at = start + size + 2;
  }
}
