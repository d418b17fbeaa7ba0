import type { Sent } from './service.js';

export interface CurlChanges {
  /** Another type of answer than the page asked for, with the same content. */
  readonly accept?: string;
  /** Where the answer goes. */
  readonly output?: string;
  /** Parameters of the query to put in or to take out. */
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** A body of a file in place of the one that was sent. */
  readonly file?: { readonly name: string; readonly type: string };
}

const LINE = ' \\\n  ';

/** The command that asks for the same. A key stands in it by the name of a variable alone. */
export function curlOf(
  { method, url, headers, body }: Sent,
  { accept, output, query, file }: CurlChanges = {},
): string {
  const address = new URL(url);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  const type = file?.type ?? (body === undefined ? undefined : headers['content-type']);
  const accepted = accept ?? headers.accept ?? '*/*';
  const implied = body !== undefined || file !== undefined ? 'POST' : 'GET';
  return [
    `curl ${method === implied ? '' : `-X ${method} `}${quoted(address.href)}`,
    ...(headers.authorization === undefined ? [] : [`-H "authorization: Bearer $ELBO_API_KEY"`]),
    ...(type === undefined ? [] : [`-H ${quoted(`content-type: ${type}`)}`]),
    ...(accepted === '*/*' || accepted === 'application/json' ? [] : [`-H ${quoted(`accept: ${accepted}`)}`]),
    ...(file === undefined ? [] : [`--data-binary ${quoted(`@${file.name}`)}`]),
    ...(body === undefined || file !== undefined ? [] : [`-d ${quoted(body)}`]),
    ...(output === undefined ? [] : [`-o ${quoted(output)}`]),
  ].join(LINE);
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
